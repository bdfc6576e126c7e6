// Package restore_test recovers real servers with walkeep fetch as their restore_command, also where it fails.
//
// What every test relies on: a server that opened although it should not have is seen by its control file and its log,
// and rows are compared with what clients were told is committed.
package restore_test

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/integration/postgres"
	"walkeep/storage/storagetest"
)

// TestMain gives the tests, and the programs they start, the credentials of every storagetest.Gateway.
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

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// majors are the versions to recover: 15 and the newest, or all.
func majors() []int {
	if len(postgres.Matrix()) > 3 || testing.Short() {
		return postgres.Matrix()
	}
	return []int{15, 18}
}
