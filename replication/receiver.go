package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/segment/record"
	"walkeep/storage"
	"walkeep/uploader"
)

// ReceiverOptions say what a Receiver does. The zero value of each duration and size means its default.
type ReceiverOptions struct {
	Server       *Config
	Store        storage.Store
	Slot         string
	SystemID     uint64        // if not 0, the only cluster to accept
	TailInterval time.Duration // default 1 s
	TailBytes    int           // default 8 MiB
	ReleaseAfter time.Duration // default 20 s
	ThrottleWait time.Duration // default 3 s
	StopTimeout  time.Duration // default 10 s
	Uploader     uploader.Options
	Log          *slog.Logger
}

func (o *ReceiverOptions) setDefaults() {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&o.TailInterval, time.Second},
		{&o.ReleaseAfter, 20 * time.Second},
		{&o.ThrottleWait, 3 * time.Second},
		{&o.StopTimeout, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.TailBytes == 0 {
		o.TailBytes = 8 << 20
	}
}

// A Receiver keeps the WAL of one cluster flowing into its repository: it connects, reconciles, streams, and begins again
// after whatever ended the stream. Its own memory of positions is only a cache: after any doubt they are asked for.
type Receiver struct {
	options ReceiverOptions
	log     *slog.Logger
	state   receiverState

	// What outlives a stream. Only Run's goroutine uses it.
	catalog    *catalog.Catalog
	uploader   *uploader.Uploader
	uploads    *errgroup.Group
	stopUpload context.CancelFunc
	lane       *uploader.Lane
	boundary   *record.Reader // state of the record walk at the end of the last segment handed over
	damage     segment.LSN    // where the last stream met a bad record
	throttled  bool           // all buffers were busy; connect again when half are free
	settle     bool           // the timeline ended, or a gap was recorded: let the lane become durable and ask the repository
	slotSeen   bool           // before 15: the slot was there when last asked
}

// NewReceiver checks the options.
func NewReceiver(options ReceiverOptions) (*Receiver, error) {
	options.setDefaults()
	if err := ValidateSlotName(options.Slot); err != nil {
		return nil, err
	}
	if options.TailInterval < 0 || options.TailBytes < 0 {
		return nil, errors.New("the tail interval can't be negative")
	}
	r := &Receiver{options: options, log: options.Log}
	r.state.set(StateConnecting, "")
	r.state.started = time.Now()
	r.state.attached = make(chan struct{}, 1)
	return r, nil
}

// A FatalError ends a Receiver: waiting can't mend it.
type FatalError struct{ Err error }

func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *FatalError) Unwrap() error { return e.Err }

func fatal(format string, args ...any) error { return &FatalError{fmt.Errorf(format, args...)} }

// Run receives until stop is closed, which ends it in good order within StopTimeout, or ctx ends, which ends it at once. It
// returns nil then, and a *FatalError when a person has to decide something: a *catalog.ForkError, another cluster behind the
// address, a store without conditional writes.
func (r *Receiver) Run(ctx context.Context, stop <-chan struct{}) error {
	defer r.state.set(StateStopped, "the receiver has ended: the server keeps its WAL in the slot until one is started again")
	defer r.closeUploader()
	var monitor sync.WaitGroup
	defer monitor.Wait()
	monitored, cancel := context.WithCancel(ctx)
	defer cancel()
	monitor.Go(func() { r.monitor(monitored) })
	backoff := backoff{min: 100 * time.Millisecond, max: 2 * time.Second}
	for {
		began := time.Now()
		err := r.session(ctx, stop)
		if ctx.Err() != nil || isClosed(stop) || errors.Is(err, errStopping) {
			return nil
		}
		r.state.failed(err)
		wait, err := r.decide(err, time.Since(began), &backoff)
		if err != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-stop:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// backoff draws waiting times that double up to a limit.
type backoff struct {
	min, max, next time.Duration
}

func (b *backoff) wait() time.Duration {
	b.next = min(max(2*b.next, b.min), b.max)
	return b.next/2 + rand.N(b.next/2+1)
}

func (b *backoff) reset() { b.next = 0 }

// goodSession is how long a session has to live for its end not to count as one more failure in a row.
const goodSession = 500 * time.Millisecond

// authWait is how long we wait when the server refuses us: only a person can mend that, and every try is in its log.
const authWait = 15 * time.Second

// refusedWait is how long we wait before looking again at a server that we must not archive from, or not yet.
const refusedWait = time.Second

// decide tells what to do about the end of a session: how long to wait, or an error that ends the Receiver.
func (r *Receiver) decide(err error, lived time.Duration, b *backoff) (time.Duration, error) {
	if lived > goodSession {
		b.reset()
	}
	var (
		fork *catalog.ForkError
		stop *FatalError
		end  *TimelineEnd
	)
	switch {
	case errors.As(err, &stop):
		return 0, err
	case errors.As(err, &fork):
		r.state.set(StateFork, err.Error())
		return 0, &FatalError{err}
	case errors.As(err, &end):
		r.log.Info("timeline ended", "next", uint32(end.Next), "lsn", end.Start.String())
		r.settle = true
		return 0, nil
	case errors.Is(err, errThrottled):
		r.throttled = true
		return 0, nil // session waits until half the buffers are free
	case errors.Is(err, errGapRecorded):
		return 0, nil
	}
	wait := b.wait()
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		if r.state.set(refused.state, refused.reason) {
			r.log.Error("not archiving from this server", "reason", refused.reason)
		}
		return max(wait, refusedWait), nil
	}
	switch class := Classify(err); {
	case class == ClassSlotMissing:
		r.slotSeen = false
		r.log.Warn("the slot is missing on the server, creating it", "slot", r.options.Slot)
	case class == ClassSlotActive:
		r.waitForSlot(err)
	case class == ClassAuth:
		wait = authWait
		r.state.set(StateConnecting, "the server refuses us: "+err.Error()+": run walkeep check")
		r.log.Error("the server refuses us", "error", err, "retry_in", wait)
	default:
		r.state.set(StateConnecting, "no stream: "+err.Error())
		r.log.Warn("stream ended", "error", err, "class", class.String(), "retry_in", wait)
	}
	return wait, nil
}

func (r *Receiver) waitForSlot(err error) {
	who := "another process"
	if pid, ok := SlotHolder(err); ok {
		who = fmt.Sprintf("server process %d", pid)
	}
	message := fmt.Sprintf("slot %q is held by %s: waiting until it is free", r.options.Slot, who)
	if r.state.set(StateWaiting, message) {
		r.log.Warn("slot is active, waiting", "slot", r.options.Slot, "holder", who)
	}
}

// closeUploader stops the uploads and gives their memory back.
func (r *Receiver) closeUploader() {
	if r.uploader == nil {
		return
	}
	r.stopUpload()
	_ = r.uploads.Wait()
	_ = r.uploader.Close()
}
