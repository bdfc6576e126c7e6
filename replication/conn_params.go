package replication

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// clientParams are libpq's settings for the client's side that pgconn would send to the server.
type clientParams struct {
	applicationName string
	keepalive       keepalive
	minTLS, maxTLS  uint16 // crypto/tls version numbers, 0 if not set
}

// takeClientParams removes from the run-time parameters what libpq keeps for itself, and returns what is of
// use here.
func takeClientParams(runtime map[string]string) (clientParams, error) {
	p := clientParams{applicationName: DefaultApplicationName, keepalive: defaultKeepalive}
	for _, key := range []string{"fallback_application_name", "application_name"} {
		if v := runtime[key]; v != "" {
			p.applicationName = v
		}
		delete(runtime, key)
	}
	for key, reason := range refusedParams {
		if runtime[key] != "" {
			return p, fmt.Errorf("%s is not supported: %s", key, reason)
		}
		delete(runtime, key)
	}
	if runtime["gssencmode"] == "require" {
		return p, fmt.Errorf("gssencmode=require is not supported: use TLS (sslmode=verify-full)")
	}
	if err := p.takeKeepalive(runtime); err != nil {
		return p, err
	}
	if err := p.takeTLSVersions(runtime); err != nil {
		return p, err
	}
	for _, key := range ignoredParams {
		delete(runtime, key)
	}
	return p, nil
}

// refusedParams would weaken or redirect the connection if they were dropped without a word.
var refusedParams = map[string]string{
	"hostaddr":    "give the address as host",
	"sslcrl":      "certificate revocation lists can't be checked",
	"sslcrldir":   "certificate revocation lists can't be checked",
	"requirepeer": "the owner of the server's socket can't be checked",
}

// ignoredParams have no meaning here: we set them ourselves, choose among hosts ourselves, or lack what they
// tune.
var ignoredParams = []string{
	"replication", "client_encoding", "load_balance_hosts", "sslcompression", "gssencmode", "gsslib",
	"gssdelegation", "sslkeylogfile", "default_transaction_read_only",
}

// restrictTLS applies ssl_min_protocol_version and ssl_max_protocol_version.
func (p clientParams) restrictTLS(cfg *pgconn.Config) {
	apply := func(c *tls.Config) {
		if c != nil {
			c.MinVersion, c.MaxVersion = p.minTLS, p.maxTLS
		}
	}
	apply(cfg.TLSConfig)
	for _, f := range cfg.Fallbacks {
		apply(f.TLSConfig)
	}
}

func (p *clientParams) takeTLSVersions(runtime map[string]string) error {
	versions := map[string]uint16{
		"": 0, "TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12,
		"TLSv1.3": tls.VersionTLS13,
	}
	for key, dst := range map[string]*uint16{
		"ssl_min_protocol_version": &p.minTLS, "ssl_max_protocol_version": &p.maxTLS,
	} {
		v, ok := versions[runtime[key]]
		if !ok {
			return fmt.Errorf("%s: unknown version %q", key, runtime[key])
		}
		*dst = v
		delete(runtime, key)
	}
	return nil
}

func (p *clientParams) takeKeepalive(runtime map[string]string) error {
	numbers := []struct {
		key   string
		apply func(n int)
	}{
		{"keepalives", func(n int) { p.keepalive.disabled = n == 0 }},
		{"keepalives_idle", func(n int) { p.keepalive.idle = time.Duration(n) * time.Second }},
		{"keepalives_interval", func(n int) { p.keepalive.interval = time.Duration(n) * time.Second }},
		{"keepalives_count", func(n int) { p.keepalive.count = n }},
		{"tcp_user_timeout", func(n int) { p.keepalive.userTimeout = time.Duration(n) * time.Millisecond }},
	}
	for _, number := range numbers {
		text, ok := runtime[number.key]
		delete(runtime, number.key)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return fmt.Errorf("%s: %q is not a number", number.key, text)
		}
		if n == 0 && number.key != "keepalives" {
			continue // libpq: zero or unset means the default
		}
		number.apply(int(n))
	}
	return nil
}
