package replication_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walkeep/replication"
)

// isolate keeps the environment and home directory of whoever runs the tests away from ParseDSN.
func isolate(t *testing.T) (home string) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	home = t.TempDir()
	t.Setenv("HOME", home)
	return home
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func hostNames(cfg *replication.Config) []string {
	var names []string
	for _, h := range cfg.Hosts() {
		names = append(names, h.String())
	}
	return names
}

func TestParseDSNListsEachHostOnce(t *testing.T) {
	isolate(t)
	for _, test := range []struct {
		dsn  string
		want []string
	}{
		{"host=a,b port=5433 user=u", []string{"a:5433", "b:5433"}},
		{"host=a,b,a port=1,2,1 user=u", []string{"a:1", "b:2"}},
		{"host=a,a port=1,2 user=u sslmode=disable", []string{"a:1", "a:2"}},
		{"postgres://u@a:1,b:2/db?sslmode=prefer", []string{"a:1", "b:2"}},
		{"postgresql://u:p%3Fq@[::1]:6000,/db", []string{"[::1]:6000", ""}},
		{"postgres://u:a?b@a", []string{"a:5432"}},
		{"host=/var/run/pg port=5499 user=u", []string{"/var/run/pg/.s.PGSQL.5499"}},
		{`host='/a b''c' user=u`, []string{}},
		{`host='/a\'b c' user=u password='x\\'`, []string{"/a'b c/.s.PGSQL.5432"}},
	} {
		cfg, err := replication.ParseDSN(test.dsn)
		if len(test.want) == 0 {
			if err == nil {
				t.Errorf("%s: no error", test.dsn)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.dsn, err)
			continue
		}
		got := hostNames(cfg)
		if n := len(got) - 1; n == 1 && test.want[n] == "" {
			got[n] = "" // the default host depends on the machine
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.dsn, diff)
		}
	}
}

func TestParseDSNTakesEachHostsPasswordFromThePassFile(t *testing.T) {
	home := isolate(t)
	writeFile(t, home, ".pgpass", "a:5432:replication:u:secret-a\nb:5432:app:u:secret-b\n*:*:*:u:secret-rest\n")
	cfg, err := replication.ParseDSN("host=a,b,c user=u dbname=app")
	if err != nil {
		t.Fatal(err)
	}
	var got [][2]string
	for _, h := range cfg.Hosts() {
		replicationPassword, sqlPassword := h.Passwords()
		got = append(got, [2]string{replicationPassword, sqlPassword})
	}
	want := [][2]string{{"secret-a", "secret-rest"}, {"secret-rest", "secret-b"}, {"secret-rest", "secret-rest"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("passwords (-want +got):\n%s", diff)
	}
	writeFile(t, home, ".pgpass", "b:5432:app:u:secret-b\n")
	cfg, err = replication.ParseDSN("host=b user=u dbname=app")
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := cfg.Hosts()[0].Passwords(); password != "secret-b" {
		t.Errorf("password = %q, want the one for the DSN's database", password)
	}
}

func TestParseDSNReadsServiceFileAndEnvironment(t *testing.T) {
	home := isolate(t)
	service := writeFile(t, home, "services", "[prod]\nhost=db1,db2\nport=6000\nuser=keeper\ndbname=replication\npassword=s\n")
	t.Setenv("PGSERVICEFILE", service)
	t.Setenv("PGAPPNAME", "from-env")
	t.Setenv("PGCONNECT_TIMEOUT", "3")
	cfg, err := replication.ParseDSN("service=prod port=6001")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"db1:6001", "db2:6001"}, hostNames(cfg)); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	h := cfg.Hosts()[1]
	if h.User() != "keeper" || h.Database() != "postgres" || cfg.ApplicationName != "from-env" || cfg.ConnectTimeout != 3*time.Second {
		t.Errorf("user %q, database %q, application_name %q, timeout %s", h.User(), h.Database(), cfg.ApplicationName, cfg.ConnectTimeout)
	}
}

func TestParseDSNDefaults(t *testing.T) {
	isolate(t)
	cfg, err := replication.ParseDSN("host=a user=u")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.ApplicationName != "walkeep" || cfg.ConnectTimeout != 10*time.Second || cfg.Hosts()[0].Database() != "postgres" {
		t.Errorf("got %+v, database %q", cfg, cfg.Hosts()[0].Database())
	}
}

func TestParseDSNRefusesSessionAttrs(t *testing.T) {
	isolate(t)
	for _, value := range []string{"read-write", "read-only", "primary", "standby", "prefer-standby"} {
		if _, err := replication.ParseDSN("host=a target_session_attrs=" + value); !errors.Is(err, replication.ErrSessionAttrs) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if _, err := replication.ParseDSN("host=a target_session_attrs=any"); err != nil {
		t.Errorf("any: %v", err)
	}
	t.Setenv("PGTARGETSESSIONATTRS", "primary")
	if _, err := replication.ParseDSN("host=a"); !errors.Is(err, replication.ErrSessionAttrs) {
		t.Errorf("environment: %v", err)
	}
}

func TestParseDSNKeepsLibpqsOwnSettingsFromTheServer(t *testing.T) {
	isolate(t)
	cfg, err := replication.ParseDSN("host=a user=u replication=database gssencmode=prefer keepalives_idle=7 " +
		"tcp_user_timeout=4000 fallback_application_name=fallback client_encoding=auto load_balance_hosts=random " +
		"ssl_min_protocol_version=TLSv1.3 options='-c wal_sender_timeout=30s'")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"options": "-c wal_sender_timeout=30s"}
	if diff := cmp.Diff(want, cfg.Hosts()[0].RuntimeParams()); diff != "" {
		t.Errorf("sent to the server (-want +got):\n%s", diff)
	}
	if cfg.ApplicationName != "fallback" {
		t.Errorf("application_name = %q", cfg.ApplicationName)
	}
	for _, bad := range []string{
		"sslcrl=/x", "hostaddr=10.0.0.1", "requirepeer=postgres", "gssencmode=require", "keepalives_idle=soon",
		"ssl_min_protocol_version=SSLv3",
	} {
		name, _, _ := strings.Cut(bad, "=")
		if _, err := replication.ParseDSN("host=a " + bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestParseDSNVerifiesEachHostsOwnName(t *testing.T) {
	isolate(t)
	cfg, err := replication.ParseDSN("host=a.example,b.example user=u sslmode=verify-full")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a.example", "b.example"} {
		h := cfg.Hosts()[i]
		if diff := cmp.Diff([]string{want}, h.TLSNames()); diff != "" || !h.RequiresTLS() {
			t.Errorf("host %s: requires TLS %v, names (-want +got):\n%s", h, h.RequiresTLS(), diff)
		}
	}
	cfg, err = replication.ParseDSN("host=a.example user=u sslmode=prefer")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Hosts()[0].RequiresTLS() {
		t.Error("sslmode=prefer requires TLS")
	}
}

func TestParseDSNErrorHidesThePassword(t *testing.T) {
	isolate(t)
	for _, dsn := range []string{"host=a password=hunter2 port=x", "postgres://u:hunter2@a:x/"} {
		if _, err := replication.ParseDSN(dsn); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}
