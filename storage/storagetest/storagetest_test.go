package storagetest

import (
	"testing"

	"walkeep/storage"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) storage.Store { return NewMemory() })
}

func TestFaultyWithoutFaults(t *testing.T) {
	Run(t, func(*testing.T) storage.Store { return NewFaulty(NewMemory()) })
}

func TestSingleWriterOverMemory(t *testing.T) {
	Run(t, func(t *testing.T) storage.Store {
		s, err := storage.SingleWriter(NewMemory())
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestRetryOverMemory(t *testing.T) {
	Run(t, func(*testing.T) storage.Store { return storage.Retry(NewMemory(), storage.RetryPolicy{}) })
}
