package bench

import (
	"context"
	"fmt"
	"os"
	"testing"

	"walkeep/storage"
	"walkeep/storage/disk"
	"walkeep/storage/open"
	"walkeep/storage/storagetest"
)

// BenchmarkPut stores objects of the size of a link one after the other: what a synchronous commit waits for.
func BenchmarkPut(b *testing.B) {
	b.Run("directory", func(b *testing.B) {
		dir := scratch(b)
		defer os.RemoveAll(dir)
		store, err := disk.Create(dir)
		if err != nil {
			b.Fatal(err)
		}
		put(b, store)
	})
	b.Run("s3", func(b *testing.B) {
		s3 := &bucket{gateway: storagetest.StartGateway(b)}
		repo, env := s3.next()
		for _, e := range env {
			for i := range e {
				if e[i] == '=' {
					b.Setenv(e[:i], e[i+1:])
					break
				}
			}
		}
		store, err := open.Store(context.Background(), repo, os.Getenv)
		if err != nil {
			b.Fatal(err)
		}
		put(b, store)
	})
}

func put(b *testing.B, store storage.Store) {
	data := make([]byte, 4<<10)
	n := 0
	for b.Loop() {
		n++
		if err := store.Put(b.Context(), fmt.Sprintf("1/tail/00000001-00000000/000000010000000000000001/%08x", n), data); err != nil {
			b.Fatal(err)
		}
	}
}
