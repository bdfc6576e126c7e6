package replication

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"walkeep/segment"
)

// smallWAL is a segment and a half.
func smallWAL() *walWriter {
	wal := newWAL(oneMB)
	wal.fill(wal.start+1<<20+1<<19, 100)
	return wal
}

// sendAll sends the WAL that there is.
func (d *sender) sendAll() error {
	for d.sent < d.server.flush {
		if err := d.sendData(); err != nil {
			return err
		}
	}
	return nil
}

// raw sends bytes as they are.
func (d *sender) raw(p ...byte) error {
	_, err := d.conn.Write(p)
	return err
}

// send sends messages as they are.
func (d *sender) send(messages ...pgproto3.BackendMessage) error {
	for _, m := range messages {
		d.b.Send(m)
	}
	return d.b.Flush()
}

// untilGone waits until the client has left, or sent CopyDone.
func (d *sender) untilGone() error {
	for {
		d.server.mu.Lock()
		gone, done, changed := d.gone, d.done, d.server.changed
		d.server.mu.Unlock()
		if gone != nil || done {
			return gone
		}
		wait(changed, time.Hour)
	}
}

// TestStreamRefusesNonsense: whatever a server sends that no server may send ends the stream with an error, and nothing of
// it is archived.
func TestStreamRefusesNonsense(t *testing.T) {
	const big = 1 << 21
	for name, nonsense := range map[string]func(d *sender) error{
		"negative length":         func(d *sender) error { return d.raw('d', 0xff, 0xff, 0xff, 0xff) },
		"length below its own":    func(d *sender) error { return d.raw('d', 0, 0, 0, 3) },
		"length of 2 GB":          func(d *sender) error { return d.raw('d', 0x7f, 0xff, 0xff, 0xff) },
		"copy message too large":  func(d *sender) error { return d.raw('d', 0, big>>16, 0, 0) },
		"other message too large": func(d *sender) error { return d.raw('N', 0, big>>16, 0, 0) },
		"empty copy message":      func(d *sender) error { return d.raw('d', 0, 0, 0, 4) },
		"copy message of no type": func(d *sender) error { return d.copyData([]byte("x1234567890")) },
		"short data header": func(d *sender) error {
			return d.copyData(append([]byte{pglogrepl.XLogDataByteID}, make([]byte, 23)...))
		},
		"short keepalive": func(d *sender) error {
			return d.copyData(append([]byte{pglogrepl.PrimaryKeepaliveMessageByteID}, make([]byte, 16)...))
		},
		"long keepalive": func(d *sender) error {
			return d.copyData(append([]byte{pglogrepl.PrimaryKeepaliveMessageByteID}, make([]byte, 18)...))
		},
		"error that is none":       func(d *sender) error { return d.raw('E', 0, 0, 0, 6, 'S', 'x') },
		"row of one column":        func(d *sender) error { return d.send(&pgproto3.DataRow{Values: [][]byte{[]byte("2")}}) },
		"row without a position":   func(d *sender) error { return d.send(&pgproto3.DataRow{Values: [][]byte{[]byte("2"), []byte("x")}}) },
		"row without a timeline":   func(d *sender) error { return d.send(&pgproto3.DataRow{Values: [][]byte{[]byte("0"), []byte("0/1")}}) },
		"end of stream, no answer": func(d *sender) error { return d.send(&pgproto3.ReadyForQuery{TxStatus: 'I'}) },
		"end within a message":     func(d *sender) error { return errors.Join(d.raw('d', 0, 0, 1, 0, 'w', 1, 2, 3), d.conn.Close()) },
		"end within a payload": func(d *sender) error {
			head := append([]byte{'d', 0, 0, 1, 0, 'w'}, make([]byte, 60)...)
			for i := range 8 {
				head[6+i] = byte(d.sent >> (56 - 8*i))
			}
			return errors.Join(d.raw(head...), d.conn.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			wal := smallWAL()
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				r.server.script = func(d *sender) error {
					return errors.Join(d.sendAll(), nonsense(d), d.untilGone())
				}
				err := <-r.session()
				if err == nil || errors.Is(err, errServerStopped) || errors.Is(err, errSilent) {
					t.Errorf("session ended with %v", err)
				}
				if end := r.ledger.durable(); end > wal.end() {
					t.Errorf("archived up to %s, sent was %s", end, wal.end())
				}
			})
		})
	}
}

// TestS10StreamRefusesAGap: a message that begins elsewhere than the one before ended is refused (scenario S10).
func TestS10StreamRefusesAGap(t *testing.T) {
	for name, by := range map[string]int64{"ahead": 8, "behind": -8, "a segment ahead": 1 << 20, "at the start again": -(1<<20 + 1<<19)} {
		t.Run(name, func(t *testing.T) {
			wal := smallWAL()
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				var got segment.LSN
				r.server.script = func(d *sender) error {
					err := d.sendAll()
					got = segment.LSN(int64(d.sent) + by)
					return errors.Join(err, d.data(got, got+8, make([]byte, 8)), d.untilGone())
				}
				err := <-r.session()
				var order *segment.OrderError
				if !errors.As(err, &order) || order.Want != wal.end() || order.Got != got {
					t.Errorf("session ended with %v", err)
				}
			})
		})
	}
}

// TestWhyAStreamEnds: each way that a server has to end a stream is told from the others.
func TestWhyAStreamEnds(t *testing.T) {
	row := func(timeline, lsn string) pgproto3.BackendMessage {
		return &pgproto3.DataRow{Values: [][]byte{[]byte(timeline), []byte(lsn)}}
	}
	var (
		wal      = smallWAL()
		end      = wal.end().String()
		complete = &pgproto3.CommandComplete{CommandTag: []byte("START_REPLICATION")}
		ready    = &pgproto3.ReadyForQuery{TxStatus: 'I'}
		fields   = &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, 2)}
	)
	copyDone := func(d *sender, messages ...pgproto3.BackendMessage) error {
		if err := errors.Join(d.send(&pgproto3.CopyDone{}), d.untilGone()); err != nil {
			return err
		}
		return d.send(messages...)
	}
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	class := func(want Class) func(error) bool { return func(err error) bool { return Classify(err) == want } }
	timeline := func(next segment.Timeline) func(error) bool {
		return func(err error) bool {
			var e *TimelineEnd
			return errors.As(err, &e) && e.Next == next && e.Start == wal.end()
		}
	}
	says := func(text string) func(error) bool {
		return func(err error) bool { return strings.Contains(err.Error(), text) }
	}
	for name, tt := range map[string]struct {
		end  func(d *sender) error
		want func(error) bool
	}{
		"shutdown": {func(d *sender) error { return d.send(&pgproto3.CommandComplete{CommandTag: []byte("COPY 0")}) }, is(errServerStopped)},
		"crash":    {func(d *sender) error { return d.conn.Close() }, is(io.EOF)},
		"terminated": {func(d *sender) error {
			e := serverError("57P01", "ProcessInterrupts", "terminating connection due to administrator command")
			e.Severity, e.SeverityUnlocalized = "FATAL", "FATAL"
			return d.send(&pgproto3.NoticeResponse{Message: "a notice means nothing"}, e)
		}, class(ClassRetry)},
		"position in the future": {func(d *sender) error {
			return d.send(serverError("XX000", "StartReplication", "requested starting point is ahead"), ready)
		}, class(ClassReconcile)},
		"timeline":                  {func(d *sender) error { return copyDone(d, fields, row("2", end), complete, complete, ready) }, timeline(2)},
		"timeline, one completion":  {func(d *sender) error { return copyDone(d, fields, row("3", end), complete, ready) }, timeline(3)},
		"timeline above 2 billion":  {func(d *sender) error { return copyDone(d, fields, row("-2", end), complete, ready) }, timeline(1<<32 - 2)},
		"timeline that isn't named": {func(d *sender) error { return copyDone(d, complete, ready) }, says("without naming")},
		"timeline beyond what came": {func(d *sender) error { return copyDone(d, fields, row("2", "F/0"), complete, ready) }, says("only up to " + end)},
		"timeline, then a crash":    {func(d *sender) error { return errors.Join(copyDone(d), d.conn.Close()) }, is(io.EOF)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, wal, nil, func(t *testing.T, r *rig) {
				r.server.script = func(d *sender) error {
					return errors.Join(d.sendAll(), tt.end(d), d.untilGone())
				}
				err := <-r.session()
				if err == nil || !tt.want(err) {
					t.Errorf("session ended with %v", err)
				}
				var pgErr *pgconn.PgError
				if strings.Contains(name, "timeline") && errors.As(err, &pgErr) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestSilentServerIsNoticed: a server that says nothing, even when asked, is left within its wal_sender_timeout and a bit,
// wherever it stopped.
func TestSilentServerIsNoticed(t *testing.T) {
	for name, freeze := range map[string]func(d *sender) error{
		"in the stream":    func(*sender) error { return nil },
		"within a message": func(d *sender) error { return d.raw('d', 0, 0, 1, 0) },
		"behind the end of the timeline": func(d *sender) error {
			err := errors.Join(d.send(&pgproto3.CopyDone{}), d.untilGone())
			_, gone := d.b.Receive() // untilGone has returned because of the client's CopyDone
			return errors.Join(err, gone)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, smallWAL(), nil, func(t *testing.T, r *rig) {
				r.server.script = func(d *sender) error {
					return errors.Join(d.sendAll(), freeze(d), d.untilGone())
				}
				start := time.Now()
				err := <-r.session()
				if took := time.Since(start); took < time.Minute || took > 90*time.Second {
					t.Errorf("left after %s", took)
				}
				if Classify(err) != ClassRetry && !errors.Is(err, errSilent) {
					t.Errorf("session ended with %v", err)
				}
			})
		})
	}
}

// A deafConn fails every write once told to, while what the server has sent can still be read: so a socket looks whose server
// has closed it.
type deafConn struct {
	net.Conn
	deaf *atomic.Bool
}

func (c *deafConn) Write(p []byte) (int, error) {
	if c.deaf.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

// TestTheServersReasonCounts: when writing fails, because the server has said its last word and left, the last word is why
// the stream ended.
func TestTheServersReasonCounts(t *testing.T) {
	bubble(t, smallWAL(), nil, func(t *testing.T, r *rig) {
		var deaf atomic.Bool
		checked := r.server.wrap
		r.server.wrap = func(c net.Conn) net.Conn { return checked(&deafConn{c, &deaf}) }
		r.server.script = func(d *sender) error {
			err := d.sendAll()
			time.Sleep(5 * time.Second)
			deaf.Store(true)
			err = errors.Join(err, d.keepalive(d.sent, 1))
			time.Sleep(10 * time.Millisecond)
			return errors.Join(err, d.send(&pgproto3.CommandComplete{CommandTag: []byte("COPY 0")}))
		}
		if err := <-r.session(); !errors.Is(err, errServerStopped) {
			t.Errorf("session ended with %v", err)
		}
	})
}
