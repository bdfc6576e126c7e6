package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgproto3"

	"walkeep/segment"
)

// maxSend is the most that a walsender sends at a time (replication/walsender.c: MAX_SEND_SIZE).
const maxSend = 128 << 10

// A sender is one START_REPLICATION. Its fields belong to its goroutine but for those that receive fills in under the
// server's mutex.
type sender struct {
	server *fakeServer
	conn   net.Conn
	b      *pgproto3.Backend
	number int
	sent   segment.LSN

	last   status // of the client
	heard  time.Time
	asked  bool  // a keepalive that demands an answer is on its way
	wanted bool  // the client asked for an answer
	done   bool  // the client sent CopyDone
	gone   error // the client has left
}

// startReplication checks the command as walsender.c: StartReplication does, and streams.
func (s *fakeServer) startReplication(conn net.Conn, b *pgproto3.Backend, command string) error {
	var (
		name  string
		start segment.LSN
		high  uint32
		low   uint32
		t     segment.Timeline
	)
	if _, err := fmt.Sscanf(command, "START_REPLICATION SLOT %q PHYSICAL %X/%X TIMELINE %d", &name, &high, &low, &t); err != nil {
		if _, err := fmt.Sscanf(command, "START_REPLICATION PHYSICAL %X/%X TIMELINE %d", &high, &low, &t); err != nil {
			s.t.Errorf("malformed command %q: %v", command, err)
		}
	}
	start = segment.LSN(high)<<32 | segment.LSN(low)
	s.mu.Lock()
	next, missing, held, script, mute := s.next, name != "" && s.slot == 0, s.held, s.script, s.mute
	number := 1
	for _, c := range s.commands[:len(s.commands)-1] {
		if len(c) > 17 && c[:17] == "START_REPLICATION" {
			number++
		}
	}
	s.mu.Unlock()
	switch {
	case mute:
		_, err := b.Receive()
		return errors.Join(errGone, err)
	case held:
		b.Send(serverError("55006", "ReplicationSlotAcquire", "slot is active for PID 4712"))
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		return b.Flush()
	case missing:
		b.Send(serverError("42704", "ReplicationSlotAcquire", "no such slot"))
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		return b.Flush()
	case next != nil && next.Start == start:
		return sendSwitch(b, *next)
	}
	b.Send(&pgproto3.CopyBothResponse{})
	if err := b.Flush(); err != nil {
		return err
	}
	d := &sender{server: s, conn: conn, b: b, number: number, sent: start, heard: time.Now()}
	s.group.Go(d.receive)
	if script != nil {
		if err := script(d); err != nil || !d.isDone() {
			return errors.Join(errGone, err) // receive reads the connection still
		}
		return nil
	}
	return d.stream()
}

// sendSwitch sends what follows the end of a timeline.
func sendSwitch(b *pgproto3.Backend, next TimelineEnd) error {
	b.Send(&pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, 2)})
	b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(fmt.Sprint(uint32(next.Next))), []byte(next.Start.String())}})
	b.Send(&pgproto3.CommandComplete{CommandTag: []byte("START_STREAMING")})
	b.Send(&pgproto3.CommandComplete{CommandTag: []byte("START_REPLICATION")})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return b.Flush()
}

// receive takes the client's messages.
func (d *sender) receive() {
	for {
		message, err := d.b.Receive()
		d.server.do(func() {
			switch m := message.(type) {
			case *pgproto3.CopyData:
				err = errors.Join(err, d.status(m.Data))
			case *pgproto3.CopyDone:
				d.done = true
			case *pgproto3.Terminate:
				err = errGone
			}
			d.gone, d.heard, d.asked = err, time.Now(), false
		})
		if err != nil || d.isDone() {
			return
		}
	}
}

func (d *sender) isDone() bool {
	d.server.mu.Lock()
	defer d.server.mu.Unlock()
	return d.done
}

// status notes a standby status update. Called with the server's mutex held.
func (d *sender) status(p []byte) error {
	be := binary.BigEndian
	if len(p) != 34 || p[0] != pglogrepl.StandbyStatusUpdateByteID {
		d.server.t.Errorf("client sent a copy message of %d bytes: % x", len(p), p[:min(len(p), 40)])
		return errors.New("unknown message")
	}
	st := status{
		at: time.Now(), sender: d.number,
		write: segment.LSN(be.Uint64(p[1:])), flush: segment.LSN(be.Uint64(p[9:])), apply: segment.LSN(be.Uint64(p[17:])), reply: p[33] != 0,
	}
	if age := time.Now().UnixMicro() - (int64(be.Uint64(p[25:])) + microsecondsTo2000); age < 0 || age > 1e6 {
		d.server.t.Errorf("status says it was sent %d µs ago", age)
	}
	d.last, d.wanted = st, d.wanted || st.reply
	if st.flush != 0 {
		d.server.slot = st.flush
	}
	d.server.statuses = append(d.server.statuses, st)
	if d.server.onStatus != nil {
		d.server.onStatus(st)
	}
	return nil
}

// copyData sends one message of the copy stream.
func (d *sender) copyData(p []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+len(p)))
	_, err := d.conn.Write(append(head, p...))
	return err
}

func (d *sender) data(from, end segment.LSN, p []byte) error {
	be, now := binary.BigEndian, time.Now().UnixMicro()-microsecondsTo2000
	m := be.AppendUint64(be.AppendUint64(be.AppendUint64([]byte{pglogrepl.XLogDataByteID}, uint64(from)), uint64(end)), uint64(now))
	return d.copyData(append(m, p...))
}

func (d *sender) keepalive(end segment.LSN, reply byte) error {
	be, now := binary.BigEndian, time.Now().UnixMicro()-microsecondsTo2000
	return d.copyData(append(be.AppendUint64(be.AppendUint64([]byte{pglogrepl.PrimaryKeepaliveMessageByteID}, uint64(end)), uint64(now)), reply))
}

// errEnd ends a stream whose connection takes commands again.
var errEnd = errors.New("stream has ended")

// stream sends WAL as walsender.c: WalSndLoop does.
func (d *sender) stream() error {
	for {
		act, changed, limit := d.next()
		if act == nil {
			wait(changed, limit)
			continue
		}
		switch err := act(); {
		case errors.Is(err, errEnd):
			return nil
		case err != nil:
			return err
		}
	}
}

// wait waits until the server changes or the client says something, or the time is over.
func wait(changed <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// next decides what to do now, or how long to wait for what.
func (d *sender) next() (act func() error, changed <-chan struct{}, limit time.Duration) {
	s := d.server
	s.mu.Lock()
	defer s.mu.Unlock()
	timeout, _ := ParseDuration(s.settings["wal_sender_timeout"])
	quiet, confirmed := time.Since(d.heard), d.last.flush
	if confirmed == 0 {
		confirmed = d.last.write
	}
	switch {
	case d.gone != nil || s.closed:
		return func() error { return errGone }, nil, 0
	case s.frozen:
	case d.done:
		return d.endCopy, nil, 0
	case d.sent < s.removed:
		return d.removed, nil, 0
	case d.sent < s.flush:
		return d.sendData, nil, 0
	case s.next != nil && d.sent >= s.next.Start:
		return d.endTimeline, nil, 0
	case d.wanted:
		d.wanted = false
		return func() error { return d.keepalive(d.sent, 0) }, nil, 0
	case s.stopping && confirmed == d.sent:
		return d.shutDown, nil, 0
	case timeout > 0 && quiet >= timeout:
		return func() error { return errGone }, nil, 0 // PostgreSQL tells only its log
	case !d.asked && (s.stopping || timeout > 0 && quiet >= timeout/2):
		d.asked = true
		return func() error { return d.keepalive(d.sent, 1) }, nil, 0
	}
	limit = time.Hour
	if timeout > 0 && !s.frozen {
		limit = timeout/2 - quiet
		if d.asked {
			limit = timeout - quiet
		}
	}
	return nil, s.changed, limit
}

// sendData sends one message of WAL, as much as there is, or 128 kB and a page boundary.
func (d *sender) sendData() error {
	s := d.server
	s.mu.Lock()
	from, end := d.sent, s.flush
	to := min(end, from+maxSend)
	if to < end {
		to -= to % walPage
	}
	if s.piece != nil {
		to = min(end, from+segment.LSN(s.piece(from)))
	}
	p := append([]byte(nil), s.wal.between(from, to)...)
	if s.mangle != nil {
		s.mangle(d.number, from, p)
	}
	d.sent = to
	s.mu.Unlock()
	return d.data(from, end, p)
}

// removed refuses to go on with WAL that is gone (walsender.c: WalSndSegmentOpen).
func (d *sender) removed() error {
	d.b.Send(serverError("58P01", "WalSndSegmentOpen", "requested WAL segment has already been removed"))
	return errors.Join(errGone, d.b.Flush())
}

// endCopy answers the client's CopyDone.
func (d *sender) endCopy() error {
	d.b.Send(&pgproto3.CopyDone{})
	d.b.Send(&pgproto3.CommandComplete{CommandTag: []byte("START_STREAMING")})
	d.b.Send(&pgproto3.CommandComplete{CommandTag: []byte("START_REPLICATION")})
	d.b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return errors.Join(errEnd, d.b.Flush())
}

// shutDown ends the stream of a server that stops: everything is confirmed (walsender.c: WalSndDone).
func (d *sender) shutDown() error {
	d.b.Send(&pgproto3.CommandComplete{CommandTag: []byte("COPY 0")})
	_ = d.b.Flush()
	d.server.do(func() { d.server.down = true })
	return errGone
}

// endTimeline ends the stream because the timeline is historic, and waits for the client to do so too.
func (d *sender) endTimeline() error {
	d.b.Send(&pgproto3.CopyDone{})
	if err := d.b.Flush(); err != nil {
		return err
	}
	s := d.server
	for {
		s.mu.Lock()
		done, gone, changed, next := d.done, d.gone, s.changed, s.next
		s.mu.Unlock()
		switch {
		case gone != nil:
			return gone
		case done:
			return errors.Join(errEnd, sendSwitch(d.b, *next))
		}
		wait(changed, time.Hour)
	}
}
