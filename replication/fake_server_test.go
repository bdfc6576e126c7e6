package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"walkeep/segment"
)

// A fakeServer answers replication commands as PostgreSQL 15 does, over pipes, from WAL that the test writes. It streams
// as a walsender does (fake_sender_test.go) unless script is set. Its fields may be changed with do.
type fakeServer struct {
	t testing.TB

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced by do
	wal      *walWriter
	flush    segment.LSN // so far is sent
	removed  segment.LSN // WAL before it is gone
	slot     segment.LSN // restart_lsn; 0: there is no slot
	history  map[segment.Timeline]string
	next     *TimelineEnd // the timeline is historic
	settings map[string]string
	stopping bool                                         // shutting down: WalSndDone
	frozen   bool                                         // says nothing any more
	held     bool                                         // the slot is active for somebody else
	mute     bool                                         // doesn't answer START_REPLICATION
	down     bool                                         // takes no connections
	closed   bool                                         // the test is over
	piece    func(from segment.LSN) int                   // size of the next message; nil: 128 kB at most
	mangle   func(sender int, from segment.LSN, p []byte) // damages what is sent
	script   func(*sender) error                          // in place of the walsender

	statuses []status
	commands []string // all but SHOW
	onStatus func(status)
	onStart  func(command string) // START_REPLICATION

	wrap  func(net.Conn) net.Conn // of the client's end
	conns map[net.Conn]struct{}
	group sync.WaitGroup
}

// status is a standby status update as the server received it.
type status struct {
	at                  time.Time
	sender              int // which START_REPLICATION, from 1 on
	write, flush, apply segment.LSN
	reply               bool
}

// newServer has one segment of WAL less a bit, and no slot.
func newServer(t testing.TB, wal *walWriter) *fakeServer {
	s := &fakeServer{
		t: t, changed: make(chan struct{}), wal: wal, flush: wal.end(), conns: map[net.Conn]struct{}{},
		history: map[segment.Timeline]string{},
		settings: map[string]string{
			"server_version_num": "150018", "wal_segment_size": fmt.Sprintf("%dMB", wal.size>>20),
			"in_hot_standby": "off", "wal_sender_timeout": "1min", "synchronous_standby_names": "",
		},
	}
	return s
}

// close ends all connections and waits for their goroutines. Nobody may connect any more.
func (s *fakeServer) close() {
	s.do(func() { s.down, s.closed = true, true })
	s.cut()
	s.group.Wait()
}

// cut ends all connections.
func (s *fakeServer) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// do changes the server.
func (s *fakeServer) do(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// write lets the test append WAL, and flushes it.
func (s *fakeServer) write(add func(w *walWriter)) (end segment.LSN) {
	s.do(func() {
		add(s.wal)
		s.flush = s.wal.end()
		end = s.flush
	})
	return end
}

// config connects to the server.
func (s *fakeServer) config() *Config {
	cfg, err := ParseDSN("host=127.0.0.1 port=5432 user=walkeep dbname=postgres sslmode=disable")
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.dial = s.dial
	return cfg
}

func (s *fakeServer) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		return nil, syscall.ECONNREFUSED
	}
	s.conns[server] = struct{}{}
	wrap := s.wrap
	s.mu.Unlock()
	s.group.Go(func() {
		s.serve(server)
		_ = server.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, server)
	})
	if wrap != nil {
		client = wrap(client)
	}
	return client, nil
}

// serve is one connection.
func (s *fakeServer) serve(conn net.Conn) {
	b := pgproto3.NewBackend(conn, conn)
	message, err := b.ReceiveStartupMessage()
	startup, ok := message.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return
	}
	if startup.Parameters["replication"] != "yes" {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28000", Message: "replication only"})
		_ = b.Flush()
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 4711, SecretKey: []byte{1, 2, 3, 4}})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if b.Flush() != nil {
		return
	}
	for {
		message, err := b.Receive()
		query, ok := message.(*pgproto3.Query)
		if err != nil || !ok {
			return // Terminate, or the client is gone
		}
		if s.isFrozen() {
			_, _ = b.Receive()
			return
		}
		if err := s.answer(conn, b, query.String); err != nil {
			return
		}
	}
}

func (s *fakeServer) isFrozen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frozen
}

// answer runs one command.
func (s *fakeServer) answer(conn net.Conn, b *pgproto3.Backend, command string) error {
	if strings.HasPrefix(command, "START_REPLICATION ") {
		s.note(command)
		return s.startReplication(conn, b, command)
	}
	s.mu.Lock()
	row, err := s.command(command)
	s.mu.Unlock()
	if err != nil {
		b.Send(err)
	} else {
		fields := make([]pgproto3.FieldDescription, len(row))
		b.Send(&pgproto3.RowDescription{Fields: fields})
		b.Send(&pgproto3.DataRow{Values: row})
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("OK")})
	}
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return b.Flush()
}

func (s *fakeServer) note(command string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, command)
	if s.onStart != nil {
		s.onStart(command)
	}
}

func serverError(code, routine, message string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Routine: routine, Message: message}
}

// command returns the row that answers a command. Called with mu held.
func (s *fakeServer) command(command string) ([][]byte, *pgproto3.ErrorResponse) {
	if name, ok := strings.CutPrefix(command, "SHOW "); ok {
		return [][]byte{[]byte(s.settings[name])}, nil
	}
	if strings.HasPrefix(command, "-- ping") {
		return nil, serverError("0A000", "exec_replication_command", "cannot execute SQL commands in WAL sender")
	}
	s.commands = append(s.commands, command)
	word, rest, _ := strings.Cut(command, " ")
	switch word {
	case "IDENTIFY_SYSTEM":
		return [][]byte{[]byte(fmt.Sprint(uint64(systemID))), []byte(fmt.Sprint(uint32(s.wal.timeline))), []byte(s.flush.String()), nil}, nil
	case "READ_REPLICATION_SLOT":
		if s.slot == 0 {
			return [][]byte{nil, nil, nil}, nil
		}
		return [][]byte{[]byte("physical"), []byte(s.slot.String()), []byte("1")}, nil
	case "CREATE_REPLICATION_SLOT":
		if s.slot != 0 {
			return nil, serverError("42710", "ReplicationSlotCreate", "exists")
		}
		s.slot = max(s.wal.start, s.removed) + 100
		return [][]byte{[]byte("walkeep"), []byte("0/0"), nil, nil}, nil
	case "TIMELINE_HISTORY":
		var t segment.Timeline
		_, _ = fmt.Sscan(rest, &t)
		if content, ok := s.history[t]; ok {
			return [][]byte{[]byte(t.HistoryName()), []byte(content)}, nil
		}
		return nil, serverError("58P01", "SendTimeLineHistory", "no such file")
	}
	return nil, serverError("42601", "", "not understood: "+command)
}

// acknowledged returns the last status of the stream that is running, or was last.
func (s *fakeServer) acknowledged() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.statuses) == 0 {
		return status{}
	}
	return s.statuses[len(s.statuses)-1]
}

// allStatuses returns what was received so far.
func (s *fakeServer) allStatuses() []status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]status(nil), s.statuses...)
}

var errGone = errors.New("client is gone")
