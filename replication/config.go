package replication

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Defaults of a Config, where neither the DSN nor libpq's environment says anything.
const (
	DefaultApplicationName = "walkeep"
	DefaultConnectTimeout  = 10 * time.Second
)

// replicationDatabase is what the pass file's database field holds for replication connections, as for
// PostgreSQL's own receivers (libpqwalreceiver.c: libpqrcv_connect). The server ignores it.
const replicationDatabase = "replication"

// sqlDatabase is where ordinary connections go if the DSN names no database: every cluster has it.
const sqlDatabase = "postgres"

// ErrSessionAttrs: the connection string, the service file or PGTARGETSESSIONATTRS asks for
// target_session_attrs. It can't be honoured on a replication connection, and ignoring it could mean the
// wrong server.
var ErrSessionAttrs = errors.New("target_session_attrs is not used: walkeep asks every host for its timeline and role " +
	"and chooses itself; remove it (also from PGTARGETSESSIONATTRS and the service file)")

// A Config says how to reach the servers of one cluster. It never prints its password.
type Config struct {
	// ApplicationName is the name in pg_stat_replication, and the one that synchronous_standby_names matches.
	ApplicationName string
	// ConnectTimeout bounds everything up to the server's readiness, for each address of a host.
	ConnectTimeout time.Duration

	dial  pgconn.DialFunc
	hosts []Host
}

// A Host is one server named by a Config: with several addresses behind its name they are tried in order.
// Hosts are comparable.
type Host struct {
	Name string // host name, IP address or directory of a Unix-domain socket
	Port uint16

	replication *pgconn.Config
	sql         *pgconn.Config
}

// String returns host:port, or the path of the socket.
func (h Host) String() string {
	_, address := pgconn.NetworkAddress(h.Name, h.Port)
	return address
}

// IsSocket reports whether the host is the directory of a Unix-domain socket.
func (h Host) IsSocket() bool {
	network, _ := pgconn.NetworkAddress(h.Name, h.Port)
	return network == "unix"
}

// RequiresTLS reports whether the connection is refused rather than made without TLS.
func (h Host) RequiresTLS() bool {
	if h.replication.TLSConfig == nil {
		return false
	}
	for _, f := range h.replication.Fallbacks {
		if f.TLSConfig == nil {
			return false
		}
	}
	return true
}

// User is the role that connects.
func (h Host) User() string { return h.replication.User }

// ParseDSN reads a libpq connection string or URL together with what libpq adds to it: environment, service
// file and pass file. Each host gets the password that the pass file has for it, under the database
// "replication" or the one in the DSN. ErrSessionAttrs if target_session_attrs is set; settings that would
// silently weaken the connection if they were ignored are refused by name.
func ParseDSN(dsn string) (*Config, error) {
	base, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("connection string: %w", err)
	}
	if base.ValidateConnect != nil {
		return nil, ErrSessionAttrs
	}
	params, err := takeClientParams(base.RuntimeParams)
	if err != nil {
		return nil, fmt.Errorf("connection string: %w", err)
	}
	cfg := &Config{
		ApplicationName: params.applicationName,
		ConnectTimeout:  base.ConnectTimeout,
		dial:            params.keepalive.dial(),
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = DefaultConnectTimeout
	}
	for _, address := range addresses(base) {
		host, err := newHost(dsn, address, base, params)
		if err != nil {
			return nil, err
		}
		cfg.hosts = append(cfg.hosts, host)
	}
	return cfg, nil
}

// Hosts returns the servers in the order of the connection string, each once.
func (c *Config) Hosts() []Host { return append([]Host(nil), c.hosts...) }

type address struct {
	host string
	port uint16
}

// addresses lists the distinct hosts of a parsed configuration; pgconn repeats one for each way to try TLS.
func addresses(base *pgconn.Config) []address {
	list := []address{{base.Host, base.Port}}
	seen := map[address]bool{list[0]: true}
	for _, f := range base.Fallbacks {
		a := address{f.Host, f.Port}
		if !seen[a] {
			seen[a] = true
			list = append(list, a)
		}
	}
	return list
}

// newHost parses the connection string again for one host alone, so that TLS name and password are its own.
func newHost(dsn string, a address, base *pgconn.Config, params clientParams) (Host, error) {
	database := base.Database
	if database == "" || database == replicationDatabase {
		database = sqlDatabase
	}
	sql, err := parseFor(dsn, a, database, params)
	if err != nil {
		return Host{}, err
	}
	replication, err := parseFor(dsn, a, replicationDatabase, params)
	if err != nil {
		return Host{}, err
	}
	if replication.Password == "" {
		replication.Password = sql.Password
	}
	return Host{Name: a.host, Port: a.port, replication: replication, sql: sql}, nil
}

func parseFor(dsn string, a address, database string, params clientParams) (*pgconn.Config, error) {
	cfg, err := pgconn.ParseConfig(override(dsn, map[string]string{
		"host": a.host, "port": strconv.Itoa(int(a.port)), "dbname": database,
	}))
	if err != nil {
		return nil, fmt.Errorf("connection string: %w", err)
	}
	if cfg.Host != a.host || cfg.Port != a.port {
		return nil, fmt.Errorf("connection string: can't be taken apart by host; does it end in a backslash?")
	}
	if _, err := takeClientParams(cfg.RuntimeParams); err != nil {
		return nil, fmt.Errorf("connection string: %w", err)
	}
	params.restrictTLS(cfg)
	cfg.MaxProtocolMessageBodyLen = maxMessageBytes
	cfg.LookupFunc = net.DefaultResolver.LookupHost
	cfg.OnPgError = func(_ *pgconn.PgConn, e *pgconn.PgError) bool { return !isFatal(e) }
	return cfg, nil
}

// override adds settings to a connection string that win over those in it (in both forms, as in libpq, the
// last occurrence counts).
func override(dsn string, settings map[string]string) string {
	var b strings.Builder
	b.WriteString(dsn)
	if isURL(dsn) {
		separator := byte('?')
		if strings.Contains(afterCredentials(dsn), "?") {
			separator = '&'
		}
		for key, value := range settings {
			b.WriteByte(separator)
			b.WriteString(key + "=" + percentEncode(value))
			separator = '&'
		}
		return b.String()
	}
	for key, value := range settings {
		b.WriteString(" " + key + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'")
	}
	return b.String()
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// afterCredentials returns the URL behind "user:password@" (fe-connect.c: conninfo_uri_parse_options looks
// for the '@' up to the first slash).
func afterCredentials(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		return rest[i+1:]
	}
	return rest
}

func percentEncode(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
