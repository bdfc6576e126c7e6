package replication

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"walkeep/segment"
)

// Sizes of the messages of the copy stream (replication/walsender.c, documented in protocol-replication).
const (
	xlogDataHeader  = 24 // after the type byte: start, end, time
	keepaliveLength = 17 // after the type byte: end, time, reply requested
	maxControl      = 1 << 20
	maxXLogData     = 1 << 20 // PostgreSQL sends at most 128 kB at a time (MAX_SEND_SIZE)
	readBuffer      = 16 << 10
)

// wire frames the messages of a hijacked connection. Reading is for one goroutine, writing for one other. The payload of
// an XLogData message is not read here but by the caller, straight into its place.
type wire struct {
	conn    net.Conn
	in      *bufio.Reader
	head    [1 + xlogDataHeader]byte
	status  [1 + 4 + 1 + 8*4 + 1]byte
	started bool
}

func newWire(conn net.Conn) *wire {
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, readBuffer)}
}

// event is one message of the server, taken apart.
type event struct {
	kind      eventKind
	start     segment.LSN // data: of the payload
	end       segment.LSN // data: how far the server could send; keepalive: how far it has sent
	length    int         // data: bytes of payload that follow on the wire
	reply     bool        // keepalive: the server wants an answer
	next      segment.Timeline
	nextStart segment.LSN
}

type eventKind int

const (
	eventData       eventKind = iota + 1
	eventKeepalive            // answer if reply is set
	eventCopyDone             // the timeline ends here
	eventSwitch               // result row behind CopyDone, or in place of the stream: next, nextStart
	eventTerminated           // CommandComplete without CopyDone: the server has shut down in order
	eventReady                // ReadyForQuery
)

// query sends a simple query.
func (w *wire) query(sql string) error {
	buf, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return err
	}
	return w.write(buf, 10*time.Second)
}

func (w *wire) write(p []byte, timeout time.Duration) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := w.conn.Write(p)
	return err
}

// awaitCopy reads the answer to START_REPLICATION. switched is set if there is nothing to stream because the position is
// exactly where the timeline ends.
func (w *wire) awaitCopy() (switched *event, err error) {
	for {
		kind, n, err := w.header()
		if err != nil {
			return nil, err
		}
		if kind == 'W' { // CopyBothResponse
			_, err := w.in.Discard(n)
			w.started = true
			return nil, err
		}
		e, err := w.control(kind, n)
		switch {
		case err != nil:
			return nil, err
		case e.kind == eventSwitch:
			switched = &e
		case e.kind == eventReady && switched != nil:
			return switched, nil
		case e.kind == eventReady:
			return nil, errors.New("server ended START_REPLICATION without a stream")
		}
	}
}

// next reads up to the payload of the next message that means something. For eventData the caller must then read length
// bytes with payload.
func (w *wire) next() (event, error) {
	for {
		kind, n, err := w.header()
		if err != nil {
			return event{}, err
		}
		var e event
		if kind == 'd' {
			e, err = w.copyData(n)
		} else {
			e, err = w.control(kind, n)
		}
		if err != nil || e.kind != 0 {
			return e, err
		}
	}
}

// payload fills p with the next bytes of the message.
func (w *wire) payload(p []byte) error {
	_, err := io.ReadFull(w.in, p)
	return err
}

// header reads a message's type and the length of its body.
func (w *wire) header() (kind byte, n int, err error) {
	if _, err := io.ReadFull(w.in, w.head[:5]); err != nil {
		return 0, 0, err
	}
	n = int(int32(binary.BigEndian.Uint32(w.head[1:5]))) - 4
	if n < 0 || n > maxXLogData+1+xlogDataHeader {
		return 0, 0, fmt.Errorf("server sent a message of type %q with length %d", w.head[0], n)
	}
	return w.head[0], n, nil
}

func (w *wire) copyData(n int) (event, error) {
	if n < 1 {
		return event{}, errors.New("server sent an empty copy message")
	}
	kind, err := w.in.ReadByte()
	if err != nil {
		return event{}, err
	}
	n--
	switch {
	case kind == pglogrepl.XLogDataByteID && n >= xlogDataHeader && n-xlogDataHeader <= maxXLogData:
		h := w.head[:xlogDataHeader]
		if _, err := io.ReadFull(w.in, h); err != nil {
			return event{}, err
		}
		x, err := pglogrepl.ParseXLogData(h)
		return event{
			kind: eventData, length: n - xlogDataHeader,
			start: segment.LSN(x.WALStart), end: segment.LSN(x.ServerWALEnd),
		}, err
	case kind == pglogrepl.PrimaryKeepaliveMessageByteID && n == keepaliveLength:
		h := w.head[:keepaliveLength]
		if _, err := io.ReadFull(w.in, h); err != nil {
			return event{}, err
		}
		k, err := pglogrepl.ParsePrimaryKeepaliveMessage(h)
		return event{kind: eventKeepalive, end: segment.LSN(k.ServerWALEnd), reply: k.ReplyRequested}, err
	}
	return event{}, fmt.Errorf("server sent a copy message of type %q with %d bytes", kind, n)
}

// control takes apart a message outside the copy stream; what means nothing to us gives an event of kind 0.
func (w *wire) control(kind byte, n int) (event, error) {
	if n > maxControl {
		return event{}, fmt.Errorf("server sent a message of type %q with %d bytes", kind, n)
	}
	body := make([]byte, n)
	if err := w.payload(body); err != nil {
		return event{}, err
	}
	switch kind {
	case 'E':
		var e pgproto3.ErrorResponse
		if err := e.Decode(body); err != nil {
			return event{}, err
		}
		return event{}, pgconn.ErrorResponseToPgError(&e)
	case 'c':
		return event{kind: eventCopyDone}, nil
	case 'D':
		return decodeSwitch(body)
	case 'C':
		if w.started {
			return event{kind: eventTerminated}, nil
		}
	case 'Z':
		return event{kind: eventReady}, nil
	}
	return event{}, nil // notices, parameter changes, row descriptions
}

// decodeSwitch reads the row (next_tli int8, next_tli_startpos text) that ends a timeline (walsender.c:
// StartReplication).
func decodeSwitch(body []byte) (event, error) {
	var row pgproto3.DataRow
	if err := row.Decode(body); err != nil {
		return event{}, err
	}
	if len(row.Values) != 2 {
		return event{}, fmt.Errorf("server ended the timeline with a row of %d columns", len(row.Values))
	}
	t, err := parseTimeline(row.Values[0])
	if err != nil {
		return event{}, err
	}
	lsn, err := segment.ParseLSN(string(row.Values[1]))
	return event{kind: eventSwitch, next: t, nextStart: lsn}, err
}

// microsecondsTo2000 is 2000-01-01, PostgreSQL's epoch, in Unix microseconds.
const microsecondsTo2000 = 946684800 * 1_000_000

// sendStatus writes a standby status update (walsender.c: ProcessStandbyReplyMessage). A flush or apply of zero leaves the
// slot untouched; that is why pglogrepl's function can't be used, which replaces zero by write.
func (w *wire) sendStatus(write, flush, apply segment.LSN, reply requestReply, timeout time.Duration) error {
	be := binary.BigEndian
	p := w.status[:0]
	p = append(p, 'd')
	p = be.AppendUint32(p, uint32(len(w.status)-1))
	p = append(p, pglogrepl.StandbyStatusUpdateByteID)
	p = be.AppendUint64(p, uint64(write))
	p = be.AppendUint64(p, uint64(flush))
	p = be.AppendUint64(p, uint64(apply))
	p = be.AppendUint64(p, uint64(time.Now().UnixMicro()-microsecondsTo2000))
	p = append(p, byte(reply))
	return w.write(p, timeout)
}

// requestReply tells the server whether to answer a status at once.
type requestReply byte

const (
	noReply   requestReply = 0
	wantReply requestReply = 1
)

// sendCopyDone ends the stream from our side.
func (w *wire) sendCopyDone(timeout time.Duration) error {
	return w.write([]byte{'c', 0, 0, 0, 4}, timeout)
}
