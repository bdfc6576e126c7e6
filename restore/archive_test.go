package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/restore"
	"walkeep/segment"
	"walkeep/storage"
)

const (
	testSystem = 7300000000000000001
	testSize   = segment.MinSize
)

// first is the first segment of the archives that tests make.
const first = 2

// archive is a repository that a test fills as a receiver would.
type archive struct {
	t       testing.TB
	store   storage.Store
	catalog *catalog.Catalog
	lineage segment.Lineage
}

// newArchive begins a repository on timeline 1 at segment first.
func newArchive(t testing.TB, store storage.Store) *archive {
	t.Helper()
	c, _, err := catalog.Create(context.Background(), store, testSystem, testSize, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{t: t, store: store, catalog: c, lineage: segment.Lineage{Timeline: 1}}
	a.begin(first)
	return a
}

// branch is the same repository on another timeline, whose history is stored.
func (a *archive) branch(t segment.Timeline, history string) *archive {
	a.t.Helper()
	l, err := a.catalog.PutHistory(context.Background(), t, []byte(history))
	if err != nil {
		a.t.Fatal(err)
	}
	b := *a
	b.lineage = l
	return &b
}

func (a *archive) name(n segment.Number) segment.Name {
	return segment.Name{Timeline: a.lineage.Timeline, Number: n, Size: testSize}
}

func (a *archive) begin(n segment.Number) {
	a.t.Helper()
	if err := a.catalog.Begin(context.Background(), a.lineage, a.name(n).Start(), time.Now()); err != nil {
		a.t.Fatal(err)
	}
}

// content is what segment n of a timeline holds: the same each time, different in each, and never a zero.
func content(t segment.Timeline, n segment.Number) []byte {
	key := fmt.Sprint(t, n)
	if known, ok := contents.Load(key); ok {
		return known.([]byte)
	}
	r := rand.New(rand.NewPCG(uint64(t), uint64(n)))
	raw := make([]byte, 0, testSize)
	for len(raw) < int(testSize) {
		raw = append(raw, bytes.Repeat([]byte{byte(1 + r.IntN(255))}, 1024)...)
	}
	contents.Store(key, raw)
	return raw
}

// What is made once per test run: it is always the same, and slow with the race detector.
var contents, objects sync.Map

var encoders = sync.Pool{New: func() any { return segment.NewEncoder() }}

func (a *archive) raw(n segment.Number) []byte { return content(a.lineage.Timeline, n) }

// encode makes the object that states the bytes [from, to) of raw, which are segment n's.
func (a *archive) encode(n segment.Number, from, to int, raw []byte) (segment.Statement, []byte) {
	a.t.Helper()
	type made struct {
		statement segment.Statement
		object    []byte
	}
	s := segment.NewStatement(testSystem, a.lineage, a.name(n).Start()+segment.LSN(from), raw[from:to])
	if known, ok := objects.Load(s); ok {
		return known.(made).statement, known.(made).object
	}
	encoder := encoders.Get().(*segment.Encoder)
	defer encoders.Put(encoder)
	object, err := encoder.Encode(nil, s, raw[from:to])
	if err != nil {
		a.t.Fatal(err)
	}
	objects.Store(s, made{s, object})
	return s, object
}

// put stores segments whole.
func (a *archive) put(numbers ...segment.Number) {
	a.t.Helper()
	for _, n := range numbers {
		a.putRaw(n, a.raw(n))
	}
}

func (a *archive) putRaw(n segment.Number, raw []byte) {
	a.t.Helper()
	s, object := a.encode(n, 0, len(raw), raw)
	if err := a.catalog.PutSegment(context.Background(), a.name(n), s, object); err != nil {
		a.t.Fatal(err)
	}
}

// link stores links of segment n that end at the given offsets, one behind the other.
func (a *archive) link(n segment.Number, ends ...int) { a.t.Helper(); a.linkFrom(n, 0, ends...) }

func (a *archive) linkFrom(n segment.Number, from int, ends ...int) {
	a.t.Helper()
	a.linkRaw(n, a.raw(n), from, ends...)
}

func (a *archive) linkRaw(n segment.Number, raw []byte, from int, ends ...int) {
	a.t.Helper()
	for _, to := range ends {
		s, object := a.encode(n, from, to, raw)
		if err := a.catalog.PutLink(context.Background(), a.name(n), s, object); err != nil {
			a.t.Fatal(err)
		}
		from = to
	}
}

// repeated is the content of one of a few segments: for tests that run through many.
func (a *archive) repeated(n segment.Number) []byte { return a.raw(n % 7) }

// rollup stores a roll-up of segment n.
func (a *archive) rollup(n segment.Number, from, to int) {
	a.t.Helper()
	a.rollupRaw(n, a.raw(n), from, to)
}

func (a *archive) rollupRaw(n segment.Number, raw []byte, from, to int) {
	a.t.Helper()
	s, object := a.encode(n, from, to, raw)
	if err := a.catalog.PutRollup(context.Background(), a.name(n), s, object); err != nil {
		a.t.Fatal(err)
	}
}

func (a *archive) dropTail(n segment.Number) {
	a.t.Helper()
	if err := a.catalog.DropTail(context.Background(), a.lineage, a.name(n)); err != nil {
		a.t.Fatal(err)
	}
}

// open is what a fetch does with a store: it knows nothing but the system identifier.
func (a *archive) open(store storage.Store) *catalog.Catalog {
	a.t.Helper()
	c, err := catalog.Open(context.Background(), store, testSystem)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// An outcome is a fetch's answer in one word and, if it was found, the content.
type outcome struct {
	answer  string // "found", "absent", "hole" or "unknown"
	content []byte
	err     error
}

func fetch(c *catalog.Catalog, o restore.FetchOptions, name string) outcome {
	prefix := []byte("what was there before")
	dst := append(make([]byte, 0, int(testSize)+len(prefix)), prefix...)
	content, absent, err := restore.NewFetcher(c, o).Fetch(context.Background(), name, dst)
	return judge(prefix, content, absent, err)
}

func judge(prefix, content []byte, absent restore.Absence, err error) outcome {
	var hole *restore.Hole
	if len(content) < len(prefix) || string(content[:len(prefix)]) != string(prefix) {
		return outcome{answer: "unknown", err: fmt.Errorf("dst was not kept: %q", content[:min(len(content), 40)])}
	}
	content = content[len(prefix):]
	switch {
	case absent.Proven() && (err != nil || len(content) != 0), err != nil && len(content) != 0:
		return outcome{answer: "unknown", err: fmt.Errorf("two answers: %d bytes, %s, %w", len(content), absent, err)}
	case absent.Proven():
		return outcome{answer: "absent", err: errors.New(absent.String())}
	case errors.As(err, &hole):
		return outcome{answer: "hole", err: err}
	case err != nil:
		return outcome{answer: "unknown", err: err}
	}
	return outcome{answer: "found", content: content}
}

// want fetches file n of the archive's timeline and compares the answer's word.
func (a *archive) want(answer string, n segment.Number) outcome {
	a.t.Helper()
	return a.wantFile(answer, a.name(n).String())
}

func (a *archive) wantFile(answer, file string) outcome {
	a.t.Helper()
	return a.wantMode(answer, restore.FetchOptions{Mode: restore.ModeRecovery}, file)
}

func (a *archive) wantMode(answer string, o restore.FetchOptions, file string) outcome {
	a.t.Helper()
	got := fetch(a.open(a.store), o, file)
	if got.answer != answer {
		a.t.Errorf("fetch %s: %s (%v), want %s", file, got.answer, got.err, answer)
	}
	return got
}

// wantBytes fetches segment n and compares it with raw, filled up with zeros to a segment.
func (a *archive) wantBytes(n segment.Number, raw []byte) {
	a.t.Helper()
	got := a.want("found", n)
	if err := sameSegment(got.content, raw); err != nil {
		a.t.Errorf("fetch %s: %v", a.name(n), err)
	}
}

func sameSegment(got, raw []byte) error {
	want := append(slices.Clone(raw), make([]byte, int(testSize)-len(raw))...)
	if len(got) != len(want) {
		return fmt.Errorf("%d bytes, want %d", len(got), len(want))
	}
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range want {
		if got[i] != want[i] {
			return fmt.Errorf("byte %d of %d differs: %d, want %d", i, len(want), got[i], want[i])
		}
	}
	return nil
}
