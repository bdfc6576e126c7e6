package uploader

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// TestArenaNeverOverlaps: blocks of any sizes, reserved, shrunk and freed in any order, keep what was written into them, and
// a reservation waits only if there really is no room.
func TestArenaNeverOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 4096
		a, err := newArena(size)
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		type held struct {
			b    *block
			fill byte
		}
		var all []held
		for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
			pick := func() int { return rapid.IntRange(0, len(all)-1).Draw(t, "block") }
			switch op := rapid.IntRange(0, 3).Draw(t, "op"); {
			case op <= 1:
				n := rapid.IntRange(1, size/2).Draw(t, "size")
				b, _ := a.try(n)
				if largest := largestGap(a); b == nil && largest >= n {
					t.Fatalf("no room for %d bytes beside a gap of %d", n, largest)
				}
				if b != nil {
					p := b.empty()
					if len(p) != 0 || cap(p) != n {
						t.Fatalf("block of %d bytes has length %d, capacity %d", n, len(p), cap(p))
					}
					all = append(all, held{b, byte(i)})
					copy(p[:n], bytes.Repeat([]byte{byte(i)}, n))
				}
			case len(all) == 0:
			case op == 2:
				h := all[pick()]
				h.b.shrink(rapid.IntRange(0, h.b.size+10).Draw(t, "to"))
			default:
				k := pick()
				checkBlock(t, all[k].b, all[k].fill)
				all[k].b.free()
				all = slices.Delete(all, k, k+1)
			}
			total := 0
			for _, h := range all {
				checkBlock(t, h.b, h.fill)
				total += h.b.size
			}
			if used, blocks := a.used(); used != total || blocks != len(all) {
				t.Fatalf("used %d bytes in %d blocks, want %d in %d", used, blocks, total, len(all))
			}
		}
	})
}

func checkBlock(t *rapid.T, b *block, fill byte) {
	p := b.arena.bytes[b.offset : b.offset+b.size]
	if !bytes.Equal(p, bytes.Repeat([]byte{fill}, b.size)) {
		t.Fatalf("block at %d was overwritten", b.offset)
	}
}

func largestGap(a *arena) (largest int) {
	end := 0
	for _, b := range a.blocks {
		largest, end = max(largest, b.offset-end), b.offset+b.size
	}
	return max(largest, len(a.bytes)-end)
}

func TestArenaReserveWaitsForRoom(t *testing.T) {
	for name, makeRoom := range map[string]func(*block){
		"free":   (*block).free,
		"shrink": func(b *block) { b.shrink(100) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, err := newArena(1000)
				if err != nil {
					t.Fatal(err)
				}
				defer a.close()
				first, err := a.reserve(t.Context(), 600)
				if err != nil {
					t.Fatal(err)
				}
				got := make(chan *block, 1)
				go func() {
					b, err := a.reserve(t.Context(), 700)
					if err != nil {
						t.Error(err)
					}
					got <- b
				}()
				synctest.Wait()
				select {
				case <-got:
					t.Error("did not wait")
				default:
				}
				makeRoom(first)
				synctest.Wait()
				select {
				case b := <-got:
					if b != nil && cap(b.empty()) != 700 {
						t.Errorf("got %d bytes", cap(b.empty()))
					}
				default:
					t.Error("still waiting")
				}
			})
		})
	}
}

func TestArenaRefuses(t *testing.T) {
	a, err := newArena(1000)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if _, err := a.reserve(testContext(t), 1001); err == nil {
		t.Error("more than the arena holds was reserved")
	}
	b, err := a.reserve(testContext(t), 1000)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err := a.reserve(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("full arena, ended context: %v", err)
	}
	b.free()
	defer func() {
		if recover() == nil {
			t.Error("freed twice without a panic")
		}
	}()
	b.free()
}
