package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// Names of the operations as a RetryPolicy's observer sees them.
const (
	OpPut    = "put"
	OpGet    = "get"
	OpList   = "list"
	OpDelete = "delete"
)

// A RetryPolicy says how long Retry goes on. The zero value of each field means its default.
type RetryPolicy struct {
	// MinDelay is the wait after the first failure (default 100 ms); it doubles up to MaxDelay (default
	// 10 s). Each wait is drawn at random between half of that and all of it.
	MinDelay, MaxDelay time.Duration
	// PermanentDelay is the wait after an error that only a person can heal, see IsPermanent (default 30 s).
	PermanentDelay time.Duration
	// MaxElapsed bounds a call with all its attempts, for a listing the wait for its next object; 0 = until
	// its context ends.
	MaxElapsed time.Duration
	// AttemptTimeout bounds an attempt that moves no data (default 30 s). One that does gets in addition the
	// time its data takes at MinRate bytes a second (default 256 KiB/s). An attempt that ran into this
	// deadline makes the next one's twice as long, up to an hour.
	AttemptTimeout time.Duration
	MinRate        int64
	// Observe, if set, is told of every failing attempt (1, 2, ...) before the wait, and with a nil err when
	// the store has answered after at least one failing attempt. For a listing key is its prefix, for a
	// deletion the first key. It is called by the goroutine of the call and must not block.
	Observe func(op, key string, attempt int, err error)
}

// maxAttemptTimeout is how far doubling may stretch the deadline of one attempt.
const maxAttemptTimeout = time.Hour

// getSize is how large an object of unknown size is taken to be when the first deadline is set.
const getSize = 64 << 20

// Retry returns a Store that tries again whatever may get better: every error but ErrExists, ErrNotFound,
// ErrInvalid and ErrNoConditionalWrites, until ctx ends or the policy does. A Put whose answer was lost may
// come back as ErrExists from the next attempt; that is passed on, for only the caller can compare
// statements. Delete is never tried again for keys that were denied. The error after the last attempt wraps
// the error of that attempt.
func Retry(s Store, p RetryPolicy) Store {
	setDefault(&p.MinDelay, 100*time.Millisecond)
	setDefault(&p.MaxDelay, 10*time.Second)
	setDefault(&p.PermanentDelay, 30*time.Second)
	setDefault(&p.AttemptTimeout, 30*time.Second)
	setDefault(&p.MinRate, 256<<10)
	if p.Observe == nil {
		p.Observe = func(string, string, int, error) {}
	}
	return &retryStore{store: s, policy: p}
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

type retryStore struct {
	store  Store
	policy RetryPolicy
}

func (r *retryStore) Put(ctx context.Context, key string, data []byte) error {
	return r.begin(OpPut, key, len(data)).run(ctx, func(ctx context.Context) error {
		return r.store.Put(ctx, key, data)
	})
}

func (r *retryStore) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	size := max(getSize, cap(dst)-len(dst))
	err := r.begin(OpGet, key, size).run(ctx, func(ctx context.Context) error {
		got, err := r.store.Get(ctx, key, dst)
		if err == nil {
			dst = got
		}
		return err
	})
	return dst, err
}

// Delete tries again only what may get better; a denied deletion will not, and nothing waits for it.
func (r *retryStore) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	refused := map[string]error{}
	err := r.begin(OpDelete, keys[0], 0).run(ctx, func(ctx context.Context) error {
		err := r.store.Delete(ctx, keys...)
		var failed *DeleteError
		if !errors.As(err, &failed) {
			return err
		}
		keys = keys[:0:0]
		again := &DeleteError{Failed: map[string]error{}}
		for key, err := range failed.Failed {
			if IsPermanent(err) {
				refused[key] = err
				continue
			}
			keys = append(keys, key)
			again.Failed[key] = err
		}
		if len(keys) == 0 {
			return nil
		}
		return again
	})
	if len(refused) == 0 {
		return err
	}
	var failed *DeleteError
	if errors.As(err, &failed) {
		for key, err := range failed.Failed {
			refused[key] = err
		}
	} else if err != nil {
		return errors.Join(err, &DeleteError{Failed: refused})
	}
	return &DeleteError{Failed: refused}
}

// List goes on after the last object it yielded, so a long listing survives an outage in its middle.
func (r *retryStore) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		c := r.begin(OpList, prefix, 0)
		for {
			stopped, err := r.listOnce(ctx, c, prefix, &after, yield)
			if stopped {
				return
			}
			if again, err := c.next(ctx, err); !again {
				if err != nil {
					yield(Object{}, err)
				}
				return
			}
		}
	}
}

// listOnce is one attempt of a listing: its deadline runs only while the store is being waited for.
func (r *retryStore) listOnce(ctx context.Context, c *call, prefix string, after *string,
	yield func(Object, error) bool,
) (stopped bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timeout := c.attemptTimeout()
	timer := time.AfterFunc(timeout, func() { cancel(&attemptTimeoutError{timeout}) })
	defer timer.Stop()
	for obj, err := range r.store.List(ctx, prefix, *after) {
		timer.Stop()
		if err != nil {
			return false, withCause(ctx, err)
		}
		*after = obj.Key
		c.progress()
		if !yield(obj, nil) {
			return true, nil
		}
		c.start = time.Now()
		timer.Reset(timeout)
	}
	return false, nil
}

// An attemptTimeoutError is the cause of an attempt that ran into its own deadline.
type attemptTimeoutError struct{ after time.Duration }

func (e *attemptTimeoutError) Error() string { return fmt.Sprintf("no answer within %s", e.after) }

// withCause adds to err why its context ended, if it did.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// A call is the state of one operation over its attempts.
type call struct {
	policy  *RetryPolicy
	op, key string
	start   time.Time
	timeout time.Duration // of the next attempt
	attempt int           // failed ones
	delay   time.Duration
}

func (r *retryStore) begin(op, key string, size int) *call {
	p := &r.policy
	timeout := p.AttemptTimeout + time.Duration(float64(size)/float64(p.MinRate)*float64(time.Second))
	return &call{policy: p, op: op, key: key, start: time.Now(), timeout: timeout, delay: p.MinDelay}
}

func (c *call) run(ctx context.Context, do func(context.Context) error) error {
	for {
		timeout := c.attemptTimeout()
		attempt, cancel := context.WithTimeoutCause(ctx, timeout, &attemptTimeoutError{timeout})
		err := do(attempt)
		if err != nil && !isAnswer(err) {
			err = withCause(attempt, err)
		}
		cancel()
		if again, err := c.next(ctx, err); !again {
			return err
		}
	}
}

// attemptTimeout is the time the next attempt may take: what is left of the whole call bounds it.
func (c *call) attemptTimeout() time.Duration {
	if c.policy.MaxElapsed == 0 {
		return c.timeout
	}
	return max(0, min(c.timeout, c.policy.MaxElapsed-time.Since(c.start)))
}

// progress forgets the failures so far: the store works.
func (c *call) progress() {
	if c.attempt > 0 {
		c.policy.Observe(c.op, c.key, c.attempt, nil)
	}
	c.attempt, c.delay = 0, c.policy.MinDelay
}

// isAnswer reports whether err is the store's last word on the request.
func isAnswer(err error) bool {
	return errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) ||
		errors.Is(err, ErrInvalid) || errors.Is(err, ErrNoConditionalWrites)
}

// next takes the outcome of an attempt, waits if there is to be another, and returns the outcome of the
// call if not.
func (c *call) next(ctx context.Context, err error) (again bool, final error) {
	if err == nil || isAnswer(err) || c.op == OpDelete && IsPermanent(err) {
		if c.attempt > 0 {
			c.policy.Observe(c.op, c.key, c.attempt, nil)
		}
		return false, err
	}
	if ctx.Err() != nil {
		return false, withCause(ctx, err)
	}
	c.attempt++
	c.policy.Observe(c.op, c.key, c.attempt, err)
	var timeout *attemptTimeoutError
	if errors.As(err, &timeout) {
		c.timeout = max(c.timeout, min(2*c.timeout, maxAttemptTimeout))
	}
	wait := c.nextDelay(err)
	if limit := c.policy.MaxElapsed; limit > 0 && time.Since(c.start)+wait >= limit {
		return false, fmt.Errorf("gave up after %d attempts in %s: %w",
			c.attempt, time.Since(c.start).Round(time.Millisecond), err)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return false, withCause(ctx, err)
	}
}

func (c *call) nextDelay(err error) time.Duration {
	wait := c.policy.PermanentDelay
	if !IsPermanent(err) {
		wait = c.delay
		c.delay = min(2*c.delay, c.policy.MaxDelay)
	}
	return wait/2 + rand.N(wait/2+1)
}
