package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var errWeather = errors.New("503 slow down")

// observed collects what a policy's observer is told.
type observed []string

func (o *observed) observe(op, key string, attempt int, err error) {
	*o = append(*o, fmt.Sprintf("%s %s %d %v", op, key, attempt, err != nil))
}

func TestRetryUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		f.Fail(storagetest.Fault{Op: storage.OpPut, Times: 3, Err: errWeather})
		var seen observed
		s := storage.Retry(f, storage.RetryPolicy{Observe: seen.observe})
		start := time.Now()
		if err := s.Put(t.Context(), "a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(observed{"put a 1 true", "put a 2 true", "put a 3 true", "put a 3 false"}, seen); diff != "" {
			t.Errorf("observed: -want +got\n%s", diff)
		}
		// 100, 200 and 400 ms, each between half of it and all.
		if took := time.Since(start); took < 350*time.Millisecond || took > 700*time.Millisecond {
			t.Errorf("three waits took %s", took)
		}
	})
}

// The wait doubles to its limit and stays there, for days if need be.
func TestRetryForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		f.Fail(storagetest.Fault{Op: storage.OpPut, Times: -1, Err: errWeather})
		s := storage.Retry(f, storage.RetryPolicy{})
		ctx, cancel := context.WithTimeout(t.Context(), 48*time.Hour)
		defer cancel()
		err := s.Put(ctx, "a", nil)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errWeather) {
			t.Errorf("error %v, want that of the context and the last one of the store", err)
		}
		if n := f.Calls(storage.OpPut); n < 48*3600/10 || n > 2*48*3600/10+20 {
			t.Errorf("%d attempts in 48 h, want one every 5 to 10 s", n)
		}
	})
}

func TestRetryStopsAtAnswers(t *testing.T) {
	for _, answer := range []error{
		storage.ErrExists, storage.ErrNotFound, storage.ErrInvalid, storage.ErrNoConditionalWrites,
	} {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		f.Fail(storagetest.Fault{Op: storagetest.OpAny, Times: -1, Err: answer})
		s := storage.Retry(f, storage.RetryPolicy{})
		if err := s.Put(t.Context(), "a", nil); !errors.Is(err, answer) {
			t.Errorf("Put: %v", err)
		}
		if got, err := s.Get(t.Context(), "a", []byte("dst")); !errors.Is(err, answer) || string(got) != "dst" {
			t.Errorf("Get: %q, %v", got, err)
		}
		if n := f.Calls(storagetest.OpAny); n != 2 {
			t.Errorf("%v: %d attempts, want 2", answer, n)
		}
	}
}

// The object is there, its answer was lost: the caller must hear ErrExists and compare.
func TestS30RetryPassesErrExistsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storagetest.NewMemory()
		f := storagetest.NewFaulty(m)
		f.Fail(storagetest.Fault{Op: storage.OpPut, LostAnswer: true})
		var seen observed
		s := storage.Retry(f, storage.RetryPolicy{Observe: seen.observe})
		if err := s.Put(t.Context(), "a", []byte("x")); !errors.Is(err, storage.ErrExists) {
			t.Errorf("Put: %v, want ErrExists", err)
		}
		if got, err := m.Get(t.Context(), "a", nil); err != nil || string(got) != "x" {
			t.Errorf("stored: %q, %v", got, err)
		}
		if diff := cmp.Diff(observed{"put a 1 true", "put a 1 false"}, seen); diff != "" {
			t.Errorf("observed: -want +got\n%s", diff)
		}
	})
}

func TestRetryOfPermanentErrorsIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		f.FailNext(storage.OpGet, fmt.Errorf("%w: 403", storage.ErrDenied), storage.ErrNoBucket)
		s := storage.Retry(f, storage.RetryPolicy{})
		start := time.Now()
		if _, err := s.Get(t.Context(), "a", nil); !errors.Is(err, storage.ErrNotFound) {
			t.Error(err)
		}
		if took := time.Since(start); took < 30*time.Second || took > time.Minute {
			t.Errorf("two waits took %s, want 15 to 30 s each", took)
		}
	})
}

func TestRetryGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		f.Fail(storagetest.Fault{Op: storage.OpGet, Times: -1, Err: errWeather})
		s := storage.Retry(f, storage.RetryPolicy{MaxElapsed: 20 * time.Second})
		start := time.Now()
		_, err := s.Get(t.Context(), "a", nil)
		if !errors.Is(err, errWeather) || !strings.Contains(err.Error(), "gave up after") {
			t.Errorf("error: %v", err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// A store that answers nothing must not hold a call for longer than it has.
func TestS33RetryEndsOnABlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		defer f.Stall(storagetest.OpAny)()
		s := storage.Retry(f, storage.RetryPolicy{MaxElapsed: 50 * time.Second})
		for name, call := range map[string]func() error{
			"Put":    func() error { return s.Put(t.Context(), "a", make([]byte, 1<<20)) },
			"Get":    func() error { _, err := s.Get(t.Context(), "a", nil); return err },
			"Delete": func() error { return s.Delete(t.Context(), "a") },
			"List": func() (last error) {
				for _, err := range s.List(t.Context(), "", "") {
					last = err
				}
				return last
			},
		} {
			start := time.Now()
			if err := call(); err == nil {
				t.Errorf("%s: no error", name)
			}
			if took := time.Since(start); took > 50*time.Second {
				t.Errorf("%s took %s", name, took)
			}
		}
	})
}

// slow is a store that takes as long as its link needs, and that obeys its context.
type slow struct {
	storage.Store
	rate int // bytes a second
}

func (s *slow) Put(ctx context.Context, key string, data []byte) error {
	timer := time.NewTimer(time.Duration(len(data)) * time.Second / time.Duration(s.rate))
	defer timer.Stop()
	select {
	case <-timer.C:
		return s.Store.Put(ctx, key, data)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Data gets the time it takes at the lowest rate, and a link that is slower still is not given up for it.
func TestAttemptDeadlineScales(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for rate, wantAttempts := range map[int]int{1 << 20: 0, 300 << 10: 0, 100 << 10: 1, 50 << 10: 2} {
			attempts := 0
			s := storage.Retry(&slow{storagetest.NewMemory(), rate}, storage.RetryPolicy{
				Observe: func(_, _ string, _ int, err error) {
					if err == nil {
						return
					}
					attempts++
					if !strings.Contains(err.Error(), "no answer within") {
						t.Errorf("error: %v", err)
					}
				},
			})
			if err := s.Put(t.Context(), "a", make([]byte, 16<<20)); err != nil {
				t.Error(err)
			}
			if attempts != wantAttempts {
				t.Errorf("%d bytes a second: %d attempts timed out, want %d", rate, attempts, wantAttempts)
			}
		}
	})
}

// A listing goes on where it was cut off, again and again; a consumer that takes its time costs nothing.
func TestRetryList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storagetest.NewMemory()
		var want, got []string
		for i := range 100 {
			want = append(want, fmt.Sprintf("l/%03d", i))
			if err := m.Put(t.Context(), want[i], nil); err != nil {
				t.Fatal(err)
			}
		}
		f := storagetest.NewFaulty(m)
		for call := range 15 {
			f.Fail(storagetest.Fault{Op: storage.OpList, Call: call, AfterItems: call % 10, Err: errWeather})
		}
		s := storage.Retry(f, storage.RetryPolicy{MaxElapsed: time.Minute})
		for o, err := range s.List(t.Context(), "l/", "l/004") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, o.Key)
			time.Sleep(time.Minute)
		}
		if diff := cmp.Diff(want[5:], got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// Nothing waits for a deletion that is not allowed.
func TestRetryDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		f.FailNext(storage.OpDelete, &storage.DeleteError{Failed: map[string]error{
			"a": storage.ErrDenied, "b": errWeather,
		}}, errWeather)
		s := storage.Retry(f, storage.RetryPolicy{})
		start := time.Now()
		err := s.Delete(t.Context(), "a", "b", "c")
		var failed *storage.DeleteError
		if !errors.As(err, &failed) || len(failed.Failed) != 1 || !errors.Is(failed.Failed["a"], storage.ErrDenied) {
			t.Errorf("error: %v", err)
		}
		if n := f.Calls(storage.OpDelete); n != 3 {
			t.Errorf("%d attempts, want 3", n)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %s", took)
		}
		f.FailNext(storage.OpDelete, storage.ErrDenied)
		if err := s.Delete(t.Context(), "a"); !errors.Is(err, storage.ErrDenied) {
			t.Errorf("error: %v", err)
		}
	})
}

func TestRetryReturnsDataOfTheLastAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		if err := f.Put(t.Context(), "a", []byte("data")); err != nil {
			t.Fatal(err)
		}
		f.Fail(storagetest.Fault{Op: storage.OpGet, Times: 2, LostAnswer: true})
		got, err := storage.Retry(f, storage.RetryPolicy{}).Get(t.Context(), "a", []byte("dst+"))
		if err != nil || !bytes.Equal(got, []byte("dst+data")) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestProbeCreateOnly(t *testing.T) {
	m := storagetest.NewMemory()
	data := []byte("identity")
	if err := m.Put(t.Context(), "cluster/1.json", data); err != nil {
		t.Fatal(err)
	}
	if err := storage.ProbeCreateOnly(t.Context(), m, "cluster/1.json", data); err != nil {
		t.Errorf("a store that has them: %v", err)
	}
	f := storagetest.NewFaulty(m)
	f.FailNext(storage.OpPut, errWeather)
	err := storage.ProbeCreateOnly(t.Context(), f, "cluster/1.json", data)
	if !errors.Is(err, errWeather) || errors.Is(err, storage.ErrNoConditionalWrites) {
		t.Errorf("a store that could not be asked: %v", err)
	}
}

func TestDeleteErrorNamesKeys(t *testing.T) {
	err := &storage.DeleteError{Failed: map[string]error{}}
	for _, key := range []string{"d", "b", "a", "c", "e"} {
		err.Failed[key] = errWeather
	}
	want := "5 objects not deleted: a: 503 slow down; b: 503 slow down; c: 503 slow down; and 2 more"
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if !errors.Is(err, errWeather) || errors.Is(err, storage.ErrDenied) {
		t.Error("errors.Is doesn't see the reasons")
	}
}

func TestValidatePrefix(t *testing.T) {
	for _, ok := range []string{"", "a", "a/", "a/b", ".", "a/.", strings.Repeat("a", storage.MaxKey)} {
		if err := storage.ValidatePrefix(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"/", "a//", "../", "a b", ".tmp/", strings.Repeat("a", storage.MaxKey+1)} {
		if err := storage.ValidatePrefix(bad); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSingleWriterNeedsAnOverwriter(t *testing.T) {
	if _, err := storage.SingleWriter(storagetest.NewFaulty(storagetest.NewMemory())); !errors.Is(err, storage.ErrInvalid) {
		t.Error(err)
	}
}

// Every fault at every call, before and after its effect: with Retry the run completes, and what was put is
// there.
func TestS02EveryCallFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, lost := range []bool{false, true} {
			for k := 0; ; k++ {
				m := storagetest.NewMemory()
				f := storagetest.NewFaulty(m)
				f.Fail(storagetest.Fault{Op: storagetest.OpAny, Call: k, LostAnswer: lost})
				s := storage.Retry(f, storage.RetryPolicy{})
				for _, key := range []string{"a", "b", "c"} {
					if err := s.Put(t.Context(), key, []byte(key)); err != nil && !(lost && errors.Is(err, storage.ErrExists)) {
						t.Fatalf("call %d: Put(%s): %v", k, key, err)
					}
				}
				for o, err := range s.List(t.Context(), "", "") {
					if err != nil {
						t.Fatalf("call %d: List: %v", k, err)
					}
					if got, err := s.Get(t.Context(), o.Key, nil); err != nil || string(got) != o.Key {
						t.Fatalf("call %d: Get(%s): %q, %v", k, o.Key, got, err)
					}
				}
				if err := s.Delete(t.Context(), "a"); err != nil {
					t.Fatalf("call %d: Delete: %v", k, err)
				}
				if !slices.Equal(m.Keys(), []string{"b", "c"}) {
					t.Fatalf("call %d: left %v", k, m.Keys())
				}
				if f.Calls(storagetest.OpAny) <= k {
					break
				}
			}
		}
	})
}
