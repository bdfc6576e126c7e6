// Package poll waits for conditions, never for time: every wait of the harness ends as soon as what it
// waits for is true, and says what it waited for when it is not.
package poll

import (
	"context"
	"fmt"
	"time"
)

// Interval is the pause between two looks at a condition.
const Interval = 10 * time.Millisecond

// Until looks at done every Interval until it says true, returns an error, or ctx ends. The error names what was
// waited for.
func Until(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if ok && err == nil {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// For is Until with a time limit of its own.
func For(limit time.Duration, what string, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit,
		fmt.Errorf("not within %s", limit))
	defer cancel()
	return Until(ctx, what, done)
}
