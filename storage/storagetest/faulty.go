package storagetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"walkeep/storage"
)

// ErrInjected is the error of a Fault that names none.
var ErrInjected = errors.New("injected fault")

// OpAny stands for every operation, counted together.
const OpAny = "any"

// A Fault makes calls of a Faulty store fail.
type Fault struct {
	Op    string // storage.OpPut, OpGet, OpList, OpDelete, or OpAny
	Call  int    // the first call that fails, counted from 0 since the Faulty was made
	Times int    // how many calls from there on fail; 0 = one, -1 = all
	Err   error  // nil = ErrInjected

	// LostAnswer lets the call take effect before it fails. For a Get or a List it makes no difference.
	LostAnswer bool
	// AfterItems lets a List yield that many objects before it fails.
	AfterItems int
}

func (f *Fault) covers(call int) bool {
	return call >= f.Call && (f.Times < 0 || call < f.Call+max(1, f.Times))
}

// Faulty is a store whose calls fail, are slow or stall as told. It keeps the promise that Put returns only
// when nobody reads its data: everything happens in the goroutine of the call.
type Faulty struct {
	store storage.Store

	mu      sync.Mutex
	faults  []Fault
	calls   map[string]int
	latency map[string]time.Duration
	stalled map[string]chan struct{}
}

// NewFaulty returns a store that does what s does until it is told otherwise.
func NewFaulty(s storage.Store) *Faulty {
	return &Faulty{
		store: s, calls: map[string]int{},
		latency: map[string]time.Duration{}, stalled: map[string]chan struct{}{},
	}
}

// Fail adds faults. Of those that cover a call, the first one added counts.
func (f *Faulty) Fail(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, faults...)
}

// FailNext lets the next calls of op fail, one with each of errs; nil lets a call pass.
func (f *Faulty) FailNext(op string, errs ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, err := range errs {
		if err != nil {
			f.faults = append(f.faults, Fault{Op: op, Call: f.calls[op] + i, Err: err})
		}
	}
}

// Heal removes all faults; counting goes on.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Calls is how many calls of op (or OpAny) have begun.
func (f *Faulty) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// SetLatency makes every call of op take that much longer, unless its context ends before.
func (f *Faulty) SetLatency(op string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latency[op] = d
}

// Stall holds all calls of op that begin from now on, until release is called (more than once does no harm)
// or their context ends.
func (f *Faulty) Stall(op string) (release func()) {
	gate := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stalled[op] = gate
	return sync.OnceFunc(func() {
		close(gate)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.stalled[op] == gate {
			delete(f.stalled, op)
		}
	})
}

// enter counts a call, holds it as long as told, and returns its fault if it has one.
func (f *Faulty) enter(ctx context.Context, op string) (*Fault, error) {
	f.mu.Lock()
	call, total := f.calls[op], f.calls[OpAny]
	f.calls[op]++
	f.calls[OpAny]++
	var fault *Fault
	i := slices.IndexFunc(f.faults, func(x Fault) bool {
		return x.Op == op && x.covers(call) || x.Op == OpAny && x.covers(total)
	})
	if i >= 0 {
		x := f.faults[i]
		if x.Err == nil {
			x.Err = ErrInjected
		}
		x.Err = fmt.Errorf("%s %d (%d in all): %w", op, call, total, x.Err)
		fault = &x
	}
	latency := f.latency[op] + f.latency[OpAny]
	gates := []chan struct{}{f.stalled[op], f.stalled[OpAny]}
	f.mu.Unlock()
	return fault, hold(ctx, latency, gates)
}

func hold(ctx context.Context, latency time.Duration, gates []chan struct{}) error {
	for _, gate := range gates {
		if gate == nil {
			continue
		}
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if latency <= 0 {
		return nil
	}
	timer := time.NewTimer(latency)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do runs a call with its fault before or after its effect.
func (f *Faulty) do(ctx context.Context, op string, call func() error) error {
	fault, err := f.enter(ctx, op)
	if err != nil {
		return err
	}
	if fault == nil {
		return call()
	}
	if fault.LostAnswer {
		_ = call() // its answer is what gets lost
	}
	return fault.Err
}

// Put is the store's, with faults.
func (f *Faulty) Put(ctx context.Context, key string, data []byte) error {
	return f.do(ctx, storage.OpPut, func() error { return f.store.Put(ctx, key, data) })
}

// Get is the store's, with faults.
func (f *Faulty) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	got := dst
	err := f.do(ctx, storage.OpGet, func() (err error) {
		got, err = f.store.Get(ctx, key, dst)
		return err
	})
	if err != nil {
		return dst, err
	}
	return got, nil
}

// Delete is the store's, with faults.
func (f *Faulty) Delete(ctx context.Context, keys ...string) error {
	return f.do(ctx, storage.OpDelete, func() error { return f.store.Delete(ctx, keys...) })
}

// List is the store's, with faults; each time it is ranged over counts as a call.
func (f *Faulty) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		fault, err := f.enter(ctx, storage.OpList)
		if err != nil {
			yield(storage.Object{}, err)
			return
		}
		items := 0
		for o, err := range f.store.List(ctx, prefix, after) {
			if fault != nil && items >= fault.AfterItems {
				break
			}
			items++
			if !yield(o, err) || err != nil {
				return
			}
		}
		if fault != nil {
			yield(storage.Object{}, fault.Err)
		}
	}
}
