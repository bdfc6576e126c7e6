// Package scenario_test lets real servers, real stores and the real binary go through what a WAL archiver must
// survive. Each test carries the number of its scenario.
//
// What every test relies on: a status that acknowledges more than the repository holds is seen when it is sent
// (tap), one that ever moved the slot there is seen on the server (watchSlot), and what is in the repository is
// compared with what archive_command stored, byte by byte, without walkeep's code.
package scenario_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/storage/storagetest"
)

// TestMain gives the tests, and the receivers they start, the credentials of every storagetest.Gateway.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": storagetest.GatewayAccess, "AWS_SECRET_ACCESS_KEY": storagetest.GatewaySecret,
		"AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

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
