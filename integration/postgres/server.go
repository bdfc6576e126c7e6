// Package postgres runs real PostgreSQL servers, 13 to 18, for tests and benchmarks.
//
// Its invariant: no server outlives the process that started it. A server is stopped when its test ends, and
// killed by the kernel when the test process panics, times out or is killed.
package postgres

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"walkeep/integration/port"
)

// Options say what kind of server is wanted. The zero value is a PostgreSQL 15 with 16 MB segments.
type Options struct {
	Major         int               // major version, 13 to 18; 0 means 15
	SegmentSizeMB int               // WAL segment size in MB, a power of two from 1 to 1024; 0 means 16
	Config        map[string]string // settings beside and above the harness's own
	Initdb        []string          // further arguments of initdb
	ArchiveDir    bool              // archive with archive_command into Server.OracleDir: the byte oracle
	Fsync         bool              // fsync = on; off makes tests faster, flush positions mean the same
}

// A Server is one PostgreSQL cluster and, while it runs, its postmaster. Methods are for one goroutine, except
// those that only talk SQL.
type Server struct {
	Major       int
	Port        int           // on 127.0.0.1; kept over restarts
	Root        string        // directory of everything the server owns, removed by Close
	OracleDir   string        // where archive_command stores, complete files only; "" without ArchiveDir
	StopTimeout time.Duration // how long Stop and Close wait for the postmaster

	account  account
	bindir   string
	data     string
	flags    []string // settings given on the command line, which win over files
	proc     *process // nil unless running
	orphaned bool     // killed without a chance to give back its shared memory
}

// Start runs a new cluster until the test ends. Its log is shown if the test fails.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Run(o)
	return register(t, s, err)
}

// Open makes a server of an existing data directory (a restored one, a copy), without starting it. The
// directory is given to the account servers run as, and is not removed. Config goes to the command line.
func Open(t testing.TB, dataDir string, o Options) *Server {
	t.Helper()
	s, err := newServer(o)
	if err == nil {
		s.data = dataDir
		s.flags = append(s.flags, flags(o.Config)...)
		if err = s.account.own(dataDir); err != nil {
			_ = s.Close()
		}
	}
	return register(t, s, err)
}

func register(t testing.TB, s *Server, err error) *Server {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of PostgreSQL %d on port %d:\n%s", s.Major, s.Port, s.Log(80))
		}
		if err := s.Close(); err != nil {
			t.Errorf("close PostgreSQL %d: %v", s.Major, err)
		}
	})
	return s
}

// Run makes and starts a new cluster outside of a test. The caller calls Close.
func Run(o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	if err := s.initialize(o); err != nil {
		_ = s.Close()
		return nil, err
	}
	if err := s.Start(); err != nil {
		err = fmt.Errorf("%w\n%s", err, s.Log(30))
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func newServer(o Options) (*Server, error) {
	if o.Major == 0 {
		o.Major = 15
	}
	bindir, err := Bindir(o.Major)
	if err != nil {
		return nil, err
	}
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	sweep()
	root, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", rootPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	n, err := port.Free()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Major: o.Major, Port: n, Root: root, StopTimeout: time.Minute,
		account: acc, bindir: bindir, data: filepath.Join(root, "data"),
	}
	s.flags = flags(map[string]string{
		"port": fmt.Sprint(n), "listen_addresses": "127.0.0.1", "unix_socket_directories": root,
	})
	return s, acc.own(root)
}

// initialize runs initdb and writes the settings.
func (s *Server) initialize(o Options) error {
	args := []string{"-D", s.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"}
	if o.SegmentSizeMB != 0 {
		args = append(args, fmt.Sprintf("--wal-segsize=%d", o.SegmentSizeMB))
	}
	cmd := s.account.command(syscall.SIGKILL, s.Root, filepath.Join(s.bindir, "initdb"), append(args, o.Initdb...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb of PostgreSQL %d: %w\n%s", s.Major, err, out)
	}
	settings := map[string]string{
		"wal_level": "replica", "max_wal_senders": "12", "max_replication_slots": "12", "max_connections": "60",
		"hot_standby": "on", "jit": "off", "log_replication_commands": "on", "log_line_prefix": "%m [%p] %a ",
		"dynamic_shared_memory_type": "mmap", "fsync": "off",
	}
	if o.Fsync {
		settings["fsync"] = "on"
	}
	if o.ArchiveDir {
		s.OracleDir = filepath.Join(s.Root, "oracle")
		if err := os.Mkdir(s.OracleDir, 0o755); err != nil {
			return err
		}
		settings["archive_mode"] = "on"
		settings["archive_command"] = archiveCommand(s.OracleDir)
	}
	maps.Copy(settings, o.Config)
	if err := s.AppendConfig(settings); err != nil {
		return err
	}
	return s.account.own(s.Root)
}

// archiveCommand stores whole files only and takes a second delivery of the same bytes, which a server killed
// between archiving and remembering it makes.
func archiveCommand(dir string) string {
	to, part := dir+"/%f", dir+"/.%f.part"
	return fmt.Sprintf(`if test -f "%[1]s"; then cmp -s "%%p" "%[1]s"; else cp "%%p" "%[2]s" && mv "%[2]s" "%[1]s"; fi`, to, part)
}

// AppendConfig adds settings to postgresql.conf, where the last one wins. They count from the next start or
// Reload.
func (s *Server) AppendConfig(settings map[string]string) error {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", k, strings.ReplaceAll(settings[k], "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(s.data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func flags(settings map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		out = append(out, "-c", k+"="+settings[k])
	}
	return out
}

// DataDir is the cluster's data directory.
func (s *Server) DataDir() string { return s.data }

// Bindir is the directory of the server's programs: initdb, pg_ctl, postgres.
func (s *Server) Bindir() string { return s.bindir }

// DSN is a connection string for SQL.
func (s *Server) DSN() string { return s.DSNAt(s.Addr()) }

// ReplicationDSN is a connection string for the physical replication protocol.
func (s *Server) ReplicationDSN() string { return s.DSN() + " replication=yes" }

// Addr is the server's host:port.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// DSNAt is DSN by way of another address, a fault proxy's.
func (s *Server) DSNAt(hostport string) string {
	host, port, _ := strings.Cut(hostport, ":")
	return fmt.Sprintf("host=%s port=%s user=postgres dbname=postgres sslmode=disable", host, port)
}

// Log returns the last lines of the server's log; all of it for lines <= 0.
func (s *Server) Log(lines int) string {
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if lines > 0 && len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

func (s *Server) logPath() string { return filepath.Join(s.Root, "log") }

// Close stops the server, at once, and removes all it owns.
func (s *Server) Close() error {
	var err error
	if s.proc != nil {
		_ = s.Thaw()
		if _, err = s.Stop(Immediate); err != nil {
			err = s.Kill9()
		}
	}
	if s.orphaned {
		s.freeSharedMemory()
	}
	if rmErr := os.RemoveAll(s.Root); err == nil {
		err = rmErr
	}
	return err
}

// freeSharedMemory removes the System V segment a killed postmaster leaves; line 7 of its pid file names it
// (utils/pidfile.h: LOCK_FILE_LINE_SHMEM_KEY).
func (s *Server) freeSharedMemory() {
	lines := pidFile(s.data)
	if len(lines) < 7 {
		return
	}
	if f := strings.Fields(lines[6]); len(f) == 2 {
		_ = exec.Command("ipcrm", "-m", f[1]).Run()
	}
}
