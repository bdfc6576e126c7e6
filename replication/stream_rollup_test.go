package replication

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/storagetest"
	"walkeep/uploader"
)

// TestRollupPlan: whatever the links, the stored roll-ups lead back to the beginning without a hole, there are few of them,
// and each byte is stored once for each level.
func TestRollupPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			plan   rollups
			end    int
			ends   = map[int]int{} // roll-ups stored: where each begins, by its end
			copied int
		)
		n := rapid.IntRange(1, 1500).Draw(t, "roll-ups")
		for range n {
			end += rapid.IntRange(1, 100).Draw(t, "bytes")
			from, stored := plan.plan(end)
			if _, taken := ends[end]; taken || from >= end {
				t.Fatalf("roll-up [%d, %d)", from, end)
			}
			ends[end], copied = from, copied+end-from
			plan.stored = stored
			steps := 0
			for at := end; at > 0; steps++ {
				before, ok := ends[at]
				if !ok {
					t.Fatalf("no roll-up ends at %d", at)
				}
				at = before
			}
			levels := 1
			for k := n; k >= rollupFanout; k /= rollupFanout {
				levels++
			}
			if steps != len(stored) || steps > levels*(rollupFanout-1)+1 {
				t.Fatalf("%d objects to read behind %d roll-ups", steps, len(ends))
			}
			if copied > (levels+1)*end {
				t.Fatalf("%d bytes stored for %d", copied, end)
			}
		}
	})
}

// countingStore counts what is asked of it.
type countingStore struct {
	storage.Store
	gets, lists int
}

func (s *countingStore) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	s.gets++
	return s.Store.Get(ctx, key, dst)
}

func (s *countingStore) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	s.lists++
	return s.Store.List(ctx, prefix, after)
}

// newLane returns a lane into the store, for segments of size.
func newLane(t *testing.T, store storage.Store, size segment.Size) (*catalog.Catalog, *uploader.Uploader, *uploader.Lane) {
	t.Helper()
	c, _, err := catalog.Create(context.Background(), store, systemID, size, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	u, err := uploader.New(c, uploader.Options{Buffers: 2}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, u, u.Lane(lineage1)
}

// TestS54TailOfADay: one transaction a second for a day: at its end, and at each moment before, the tail is composed with about
// 100 GETs at most (scenario S54).
func TestS54TailOfADay(t *testing.T) {
	const size, linkBytes, patterns = 16 << 20, 160, 61
	links := 24 * 60 * 60
	if testing.Short() {
		links = 5000
	}
	ctx := context.Background()
	store := &countingStore{Store: storagetest.NewMemory()}
	c, u, lane := newLane(t, store, size)
	buf, err := u.Buffer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range buf.Bytes {
		buf.Bytes[i] = byte(i / linkBytes % patterns)
	}
	var frames [patterns][]byte // of each link's bytes: encoding them again and again would take most of the time
	for i := range frames {
		raw := buf.Bytes[i*linkBytes : (i+1)*linkBytes]
		object, err := segment.NewEncoder().Encode(nil, segment.NewStatement(systemID, lineage1, 0, raw), raw)
		if err != nil {
			t.Fatal(err)
		}
		frames[i] = object[segment.StatementSize:]
	}
	open := openSegment{name: segment.NameAt(1, size, size), buf: buf}
	r := &roller{lane: lane, log: slog.New(slog.DiscardHandler)}
	var plan rollups
	most := 0
	for i := range links {
		end := (i + 1) * linkBytes
		from := open.name.Start() + segment.LSN(end-linkBytes)
		statement := segment.NewStatement(systemID, lineage1, from, buf.Bytes[end-linkBytes:end])
		if err := c.PutLink(ctx, open.name, statement, append(statement.Append(nil), frames[i%patterns]...)); err != nil {
			t.Fatal(err)
		}
		r.linked(ctx, &plan, open, end)
		r.running.Wait()
		most = max(most, len(plan.stored)+plan.links)
	}
	store.gets, store.lists = 0, 0
	tail, err := c.Tail(ctx, lineage1, open.name, nil)
	if err != nil || !bytes.Equal(tail, buf.Bytes[:links*linkBytes]) {
		t.Errorf("tail of %d bytes, %v, want %d", len(tail), err, links*linkBytes)
	}
	t.Logf("%d links: %d GETs, %d LISTs; at most %d GETs at any moment; %d roll-ups of %d bytes",
		links, store.gets, store.lists, most, u.Stats().Rollups, u.Stats().StoredBytes)
	if store.gets > 100 || store.lists > 2 || most > 100 {
		t.Errorf("composed with %d GETs and %d LISTs, at most %d", store.gets, store.lists, most)
	}
	store.gets, store.lists = 0, 0
	if end, err := c.TailEnd(ctx, lineage1, open.name); err != nil || end != len(tail) || store.gets > 1 || store.lists > 2 {
		t.Errorf("end of the tail %d, %v, with %d GETs and %d LISTs", end, err, store.gets, store.lists)
	}
	buf.Release()
	if free := u.Stats().FreeBuffers; free != 2 {
		t.Errorf("%d buffers are free: a roll-up keeps one", free)
	}
}

// TestRollupsWhileOneHangs: the chain goes on beside a roll-up that takes its time or fails, and the next one takes its links
// too.
func TestRollupsWhileOneHangs(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	memory := storagetest.NewMemory()
	store := newLedger()
	store.Memory = memory
	c, u, lane := newLane(t, store, oneMB)
	buf, err := u.Buffer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	open := openSegment{name: segment.NameAt(1, segment.LSN(oneMB), oneMB), buf: buf}
	linker, r := lane.Linker(), &roller{lane: lane, log: slog.New(slog.DiscardHandler)}
	var plan rollups
	end := 0
	put := func(links int) {
		for range links {
			if err := linker.Put(ctx, open.name, open.name.Start()+segment.LSN(end), buf.Bytes[end:end+100]); err != nil {
				t.Fatal(err)
			}
			end += 100
			r.linked(ctx, &plan, open, end)
		}
	}
	release := store.hold("upto-")
	put(3*rollupFanout + 5)
	if n := len(store.keys("upto-")); n != 0 {
		t.Errorf("%d roll-ups although the first one hangs", n)
	}
	release()
	r.running.Wait()
	put(1)
	r.running.Wait()
	if keys := store.keys("upto-"); len(keys) != 2 || len(plan.stored) != 1 && len(plan.stored) != 2 {
		t.Errorf("roll-ups %v, plan %v", keys, plan.stored)
	}
	put(1)
	if got, err := c.Tail(ctx, lineage1, open.name, nil); err != nil || !bytes.Equal(got, buf.Bytes[:end]) {
		t.Errorf("tail of %d bytes, %v, want %d", len(got), err, end)
	}
	next := openSegment{name: open.name.Next(), buf: buf}
	plan = rollups{}
	r.linked(ctx, &plan, next, 100)
	if len(plan.stored) != 0 {
		t.Errorf("the next segment begins with the roll-ups of the one before: %v", plan.stored)
	}
	linker.Wait()
	r.running.Wait()
	buf.Release()
}
