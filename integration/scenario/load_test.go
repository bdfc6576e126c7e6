package scenario_test

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// background runs work until the returned function is called, which waits for it, or the test ends. An error of work
// while it should run fails the test.
func background(t testing.TB, ctx context.Context, work func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := work(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("background work: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// bench runs pgbench until stopped.
func (c *cluster) bench(t testing.TB, ctx context.Context, args ...string) (stop func()) {
	t.Helper()
	must(t, c.PgbenchInit(ctx, 1))
	return background(t, ctx, func(ctx context.Context) error {
		return c.Pgbench(ctx, append([]string{"-n", "-T", "3600"}, args...)...)
	})
}

// emit writes bytes of WAL that don't compress, and flushes them.
func (c *cluster) emit(ctx context.Context, bytes int) error {
	conn, err := c.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return emitOn(ctx, conn, bytes)
}

func emitOn(ctx context.Context, conn *pgx.Conn, bytes int) error {
	piece := make([]byte, 256<<10)
	for bytes > 0 {
		n := min(bytes, len(piece))
		_, _ = rand.Read(piece[:n])
		if _, err := conn.Exec(ctx, "SELECT pg_logical_emit_message(true, 'load', $1::bytea)", piece[:n]); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}

// steady emits WAL at a steady rate until stopped.
func (c *cluster) steady(t testing.TB, ctx context.Context, bytesPerSecond int) (stop func()) {
	t.Helper()
	conn, err := c.Connect(ctx)
	must(t, err)
	return background(t, ctx, func(ctx context.Context) error {
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		return every(ctx, 50*time.Millisecond, func(passed time.Duration) error {
			return emitOn(ctx, conn, int(passed.Seconds()*float64(bytesPerSecond)))
		})
	})
}

// switches ends a segment every now and then, until stopped.
func (c *cluster) switches(t testing.TB, ctx context.Context, interval time.Duration) (stop func()) {
	t.Helper()
	return background(t, ctx, func(ctx context.Context) error {
		return every(ctx, interval, func(time.Duration) error {
			_, err := c.SwitchWAL(ctx)
			return err
		})
	})
}

// every calls act with the time since it was called before, until it returns an error or ctx ends.
func every(ctx context.Context, interval time.Duration, act func(passed time.Duration) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case now := <-tick.C:
			if err := act(now.Sub(last)); err != nil {
				return err
			}
			last = now
		case <-ctx.Done():
			return nil
		}
	}
}
