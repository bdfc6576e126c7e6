// Package failover_test lets servers be promoted, killed, rewound, reset and doubled under the real binary.
//
// What every test relies on: whatever happens to the servers, no object changes once it is there, all WAL of the
// timelines that live on is in the archive byte for byte as archive_command stored it, and what can't be had is
// recorded and shown.
package failover_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is a context for a whole test that should be over long before.
func limit(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// random draws what a test leaves to chance; WALKEEP_SEED repeats a run.
func random(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("WALKEEP_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("WALKEEP_SEED: %v", err)
		}
	}
	t.Logf("WALKEEP_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pause lets a random time pass: the length of a load, never the wait for a condition.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
