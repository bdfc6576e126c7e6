package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/segment/record"
	"walkeep/uploader"
)

// Sentinels and reasons why a stream ends.
var (
	// errServerStopped: the server has shut down in order, with everything acknowledged or released.
	errServerStopped = errors.New("server has shut down")
	// errThrottled: all buffers have been busy for too long.
	errThrottled = errors.New("all segment buffers are waiting for storage")
	// errSilent: the server has not been heard of in time.
	errSilent = errors.New("server has not been heard of in time")
	// errSlotLost: the slot was invalidated under us; the server lets us stream on, but keeps nothing for us.
	errSlotLost = errors.New("the slot has been invalidated")
	// errStopping: we were asked to stop, and did.
	errStopping = errors.New("receiver is stopping")
)

// TimelineEnd says that the streamed timeline ends, and which one goes on where.
type TimelineEnd struct {
	Next  segment.Timeline
	Start segment.LSN // where Next begins: not beyond what was received
}

func (e *TimelineEnd) Error() string {
	return fmt.Sprintf("the timeline ended: timeline %d begins at %s", e.Next, e.Start)
}

// StreamOptions say how a Stream behaves. All fields must be set.
type StreamOptions struct {
	Slot         string
	TailInterval time.Duration // the oldest received byte waits at most this long for its link
	TailBytes    int           // so many bytes are linked without waiting
	ReleaseAfter time.Duration // how long a server that shuts down is kept waiting for storage
	ThrottleWait time.Duration // how long all buffers may be busy before we disconnect
	StopTimeout  time.Duration // how long our own shutdown may take
	// SenderTimeout is the server's wal_sender_timeout for this connection; 0 is never.
	SenderTimeout time.Duration
	// Synchronous: commits wait for us, so links follow each other without waiting. It may change: setSynchronous.
	Synchronous bool
	// SynchronousOnly: they wait for nobody but us.
	SynchronousOnly bool
	// Damage is where an earlier stream met a bad record, 0 if it didn't: met again, it is archived as it is.
	Damage segment.LSN
}

// A Stream is one START_REPLICATION on one timeline of one server, beginning at a segment boundary. Four goroutines work
// on it: read fills segment buffers from the socket, check walks what was read and hands over full segments, link makes
// the tail durable, report is the only writer of the socket and is delayed by nothing.
type Stream struct {
	options     StreamOptions
	timeline    segment.Timeline
	start       segment.LSN
	size        segment.Size
	lane        *uploader.Lane
	uploader    *uploader.Uploader
	catalog     *catalog.Catalog
	mark        *uploader.Watermark
	log         *slog.Logger
	wire        *wire
	progress    *progress
	chunks      chan chunk
	reading     *uploader.Buffer // being filled; nil between segments
	window      *window
	synchronous atomic.Bool
	aborted     chan error // capacity 1
	reader      *record.Reader
	hash        *xxhash.Digest      // of the current segment, as far as it is checked
	unchecked   uint64              // what reader had not checked when it was last asked
	prefix      []byte              // what the parent timeline holds of the first segment, to be compared with what comes; nil if nothing is to be
	end         segment.LSN         // of the timeline, if it has ended
	boundary    *record.Reader      // as reader was at the end of the last segment handed over
	tail        []catalog.TailPiece // that the first segment had before the stream: compared before anything of it is handed over
	tailDamaged bool                // there is more of it, which can't be read
	// damaged records that a segment is archived, up to end, although a record in it is bad.
	damaged func(ctx context.Context, damage *record.DamageError, end segment.LSN) error
	stop    <-chan struct{} // closed when we are to stop in good order
}

// chunk is a piece of a segment that has been read.
type chunk struct {
	buf      *uploader.Buffer
	name     segment.Name
	from, to int
}

// full reports whether the chunk ends its segment: with it goes the ownership of the buffer.
func (c chunk) full() bool { return c.to == len(c.buf.Bytes) }

// run streams until something ends it, and says what. It closes the connection.
func (s *Stream) run(ctx context.Context) error {
	s.unchecked = s.reader.Unchecked()
	group, ctx := errgroup.WithContext(ctx)
	closer := context.AfterFunc(ctx, func() { _ = s.wire.conn.Close() })
	defer closer()
	s.progress.heard(s.start, 0, time.Now())
	group.Go(func() error { return s.read(ctx) })
	group.Go(func() error { return s.check(ctx) })
	group.Go(func() error { return s.link(ctx) })
	group.Go(func() error {
		err := s.report(ctx)
		if err != nil { // the server's last word, if read still gets it, tells more than that it is gone
			select {
			case <-time.After(lastWord):
			case <-ctx.Done():
			}
		}
		return err
	})
	group.Go(func() error { return s.watch(ctx) })
	err := group.Wait()
	s.releaseBuffers()
	_ = s.wire.conn.Close()
	return err
}

// abort ends the stream.
func (s *Stream) abort(reason error) {
	select {
	case s.aborted <- reason:
	default: // it is ending already
	}
}

// setSynchronous says whether commits wait for us; it reports whether that is new.
func (s *Stream) setSynchronous(synchronous bool) (changed bool) {
	if s.synchronous.Swap(synchronous) == synchronous {
		return false
	}
	s.window.setKeep(synchronous)
	s.window.kick()
	return true
}

// releaseBuffers gives back what the goroutines left: nobody else uses it any more.
func (s *Stream) releaseBuffers() {
	s.window.clear()
	if s.reading != nil {
		s.reading.Release()
	}
	for {
		select {
		case c := <-s.chunks:
			if c.full() {
				c.buf.Release()
			}
		default:
			return
		}
	}
}

// watch ends the stream when the lane has failed, and starts the good end when we are asked to stop.
func (s *Stream) watch(ctx context.Context) error {
	select {
	case <-s.lane.Failed():
		return s.lane.Err()
	case err := <-s.aborted:
		return err
	case <-s.stop:
	case <-ctx.Done():
		return nil
	}
	return s.finish(ctx)
}

// finish makes durable what was received until now, reports it and ends the stream.
func (s *Stream) finish(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, s.options.StopTimeout)
	defer cancel()
	if target := s.progress.received(); !s.settle(wait, target) {
		s.log.Warn("stopping before everything received was durable: the server keeps it",
			"durable", s.mark.LSN().String(), "received", target.String())
	}
	last, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	s.progress.leave(last)
	return errStopping
}

// lastWord is how long the end of a stream may take, on our side or the server's.
const lastWord = time.Second

// settle waits until everything before target is durable, without waiting for the time or size of a link.
func (s *Stream) settle(ctx context.Context, target segment.LSN) bool {
	s.window.demand(target)
	for {
		moved := s.mark.Moved()
		if s.mark.LSN() >= target {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}
