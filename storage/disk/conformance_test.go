package disk

import (
	"testing"

	"go.uber.org/goleak"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func TestMain(m *testing.M) {
	if runCrashHelper() {
		return
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store { return newStore(t) })
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
