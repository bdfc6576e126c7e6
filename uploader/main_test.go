package uploader

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/goleak"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	oneMB    = segment.MinSize
	systemID = 7301234567890123456
)

// lineage is the one lineage that timeline 1 can have.
var lineage = segment.Lineage{Timeline: 1}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newCatalog(t testing.TB, store storage.Store) *catalog.Catalog {
	t.Helper()
	c, _, err := catalog.Create(testContext(t), store, systemID, oneMB, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start returns an Uploader for the store that runs until the test ends.
func start(t testing.TB, store storage.Store, options Options) *Uploader {
	t.Helper()
	u, err := New(newCatalog(t, store), options, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := u.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return u
}

// number is the name of the n-th segment of the lineage.
func number(n int) segment.Name {
	return segment.Name{Timeline: 1, Number: segment.Number(n), Size: oneMB}
}

// fill makes p differ with seed, in a few bytes of each page: compressing costs little.
func fill(p []byte, seed uint64) {
	clear(p)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := 0; i < len(p); i += 8192 {
		binary.LittleEndian.PutUint64(p[i:], r.Uint64())
	}
}

// fillDense fills p with bytes that don't compress.
func fillDense(p []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	var word [8]byte
	for len(p) > 0 {
		binary.LittleEndian.PutUint64(word[:], r.Uint64())
		p = p[copy(p, word[:]):]
	}
}

// handOver gives the lane segment n, with content that depends on seed.
func handOver(t testing.TB, u *Uploader, l *Lane, n int, seed uint64) {
	t.Helper()
	b, err := u.Buffer(testContext(t))
	if err != nil {
		t.Fatalf("buffer for segment %d: %v", n, err)
	}
	fill(b.Bytes, seed)
	l.Segment(number(n), b, xxhash.Sum64(b.Bytes))
}

// await waits for the channel.
func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-testContext(t).Done():
		t.Fatalf("%s: did not happen", what)
	}
}

// awaitMark waits until the Watermark has reached lsn.
func awaitMark(t testing.TB, w *Watermark, lsn segment.LSN) {
	t.Helper()
	for {
		moved := w.Moved()
		if w.LSN() >= lsn {
			return
		}
		await(t, "watermark at "+lsn.String(), moved)
	}
}
