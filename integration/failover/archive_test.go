package failover_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"walkeep/catalog"
	"walkeep/integration/oracle"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/disk"
)

// archived waits until the repository holds what the server has flushed, on the server's own lineage.
func (s *site) archived(of *postgres.Server) segment.LSN {
	s.t.Helper()
	flushed, err := of.FlushLSN(s.ctx)
	must(s.t, err)
	l, _ := s.lineage(of)
	must(s.t, poll.Until(s.ctx, fmt.Sprintf("the repository to hold %s up to %s", l, flushed), func(ctx context.Context) (bool, error) {
		end, err := s.frontier(ctx, l)
		return end >= flushed, err
	}))
	return flushed
}

// frontier is asked for while the repository may not be there yet.
func (s *site) frontier(ctx context.Context, l segment.Lineage) (segment.LSN, error) {
	store, err := disk.Open(s.dir)
	if err != nil {
		return 0, err
	}
	c, err := catalog.OpenOnly(ctx, store)
	if errors.Is(err, catalog.ErrNoCluster) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	end, _, err := c.Frontier(ctx, l)
	if catalog.IsBrokenTail(err) {
		return 0, nil
	}
	return end, err
}

// equal ends the primary's segment, and compares every history and segment that archive_command of any of the site's
// servers stored with the repository, from the archive's beginning on. What a gap says is missing may be, and so may what
// an ancestor of the primary's timeline wrote beyond its end. It returns how many files are equal.
func (s *site) equal(primary *postgres.Server) int {
	s.t.Helper()
	_, err := primary.ArchiveSegment(s.ctx)
	must(s.t, err)
	s.archived(primary)
	c := s.catalog()
	begin, ok, err := c.Started(s.ctx, segment.Lineage{Timeline: 1})
	must(s.t, err)
	if !ok {
		s.t.Fatal("the archive has no beginning")
	}
	gaps, err := c.Gaps(s.ctx)
	must(s.t, err)
	_, forks := s.history(primary, s.timeline(primary))
	store, err := disk.Open(s.dir)
	must(s.t, err)
	stored := oracle.Stored(store, fmt.Sprint(c.SystemID()))
	source := func(ctx context.Context, name string) ([]byte, error) {
		content, err := stored(ctx, name)
		if errors.Is(err, oracle.ErrMissing) && (inGap(c, gaps, name) || beyondEnd(c, forks, name)) {
			return os.ReadFile(filepath.Join(s.first.OracleDir, name))
		}
		return content, err
	}
	report, err := oracle.Compare(s.ctx, s.first.OracleDir, source,
		oracle.Range{From: segment.NameAt(1, begin, c.SegmentSize()).String()})
	must(s.t, err)
	return len(report.Equal)
}

// inGap says whether a segment is missing because of a gap.
func inGap(c *catalog.Catalog, gaps []catalog.Gap, name string) bool {
	n, err := segment.ParseName(name, c.SegmentSize())
	if err != nil {
		return false
	}
	for _, g := range gaps {
		if g.Lineage.Timeline == n.Timeline && g.Kind == catalog.GapLost && g.From < n.End() && n.Start() < g.To {
			return true
		}
	}
	return false
}

// endsLike compares what is archived of an ended timeline's last segment with the file of a server that wrote it, up to
// where the next timeline begins. fork must not lie on a segment boundary.
func (s *site) endsLike(l segment.Lineage, fork segment.LSN, server *postgres.Server) {
	s.t.Helper()
	c := s.catalog()
	n := segment.NameAt(l.Timeline, fork, c.SegmentSize())
	raw, err := c.Segment(s.ctx, l, n, nil)
	if errors.Is(err, storage.ErrNotFound) {
		raw, err = c.Tail(s.ctx, l, n, nil)
	}
	must(s.t, err)
	file, err := os.ReadFile(filepath.Join(server.DataDir(), "pg_wal", n.String()))
	must(s.t, err)
	size := int(fork - n.Start())
	if len(raw) < size {
		s.t.Fatalf("timeline %d is archived up to %s, it ended at %s", l.Timeline, n.Start()+segment.LSN(len(raw)), fork)
	}
	must(s.t, oracle.Diff(raw[:size], file[:size]))
}

// beyondEnd says whether a segment of an ancestor timeline is not wholly before its end.
func beyondEnd(c *catalog.Catalog, forks []segment.Fork, name string) bool {
	n, err := segment.ParseName(name, c.SegmentSize())
	if err != nil {
		return false
	}
	for _, f := range forks {
		if f.Timeline == n.Timeline && f.Switch < n.End() {
			return true
		}
	}
	return false
}

// noAlarm fails the test if the receiver reports anything but a good archive, now.
func (s *site) noAlarm(r *walkeep.Receiver) {
	s.t.Helper()
	status, err := r.Status(s.ctx)
	must(s.t, err)
	if len(status.Gaps) > 0 || status.State == "fork" || status.State == "gap" {
		s.t.Errorf("the receiver reports an alarm: %s", status.Raw)
	}
	if code, body, err := r.Get(s.ctx, "/healthz"); err != nil || code != 200 {
		s.t.Errorf("/healthz: %d %s, %v", code, body, err)
	}
	gaps, err := s.catalog().Gaps(s.ctx)
	must(s.t, err)
	if len(gaps) > 0 {
		s.t.Errorf("gaps in the repository: %v", gaps)
	}
}

// red waits until status and health show an alarm whose text has all of words.
func (s *site) red(r *walkeep.Receiver, state string, words ...string) walkeep.Status {
	s.t.Helper()
	status, err := r.WaitStatus(s.ctx, "state "+state, func(st walkeep.Status) bool {
		text := string(st.Raw)
		for _, w := range words {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return st.State == state
	})
	must(s.t, err)
	if code, body, err := r.Get(s.ctx, "/healthz"); err != nil || code != 503 {
		s.t.Errorf("/healthz in state %s: %d %s, %v; want 503", state, code, body, err)
	}
	return status
}

// A snapshot is the content of every object, by key.
type snapshot map[string][sha256.Size]byte

func (s *site) snapshot() snapshot {
	s.t.Helper()
	all := snapshot{}
	must(s.t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || strings.Contains(path, "/.tmp/") {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a tail whose segment is whole
		}
		key, _ := filepath.Rel(s.dir, path)
		all[key] = sha256.Sum256(content)
		return err
	}))
	return all
}

// unchanged fails the test if an object of before is now another one, or is gone without being a tail.
func (s *site) unchanged(before snapshot) {
	s.t.Helper()
	now := s.snapshot()
	for key, sum := range before {
		got, there := now[key]
		if there && !bytes.Equal(got[:], sum[:]) {
			s.t.Errorf("%s was overwritten", key)
		}
		if !there && !strings.Contains(key, "/tail/") {
			s.t.Errorf("%s is gone", key)
		}
	}
}

// historyFirst fails the test unless the history of the lineage was stored before anything of its WAL.
func (s *site) historyFirst(l segment.Lineage) {
	s.t.Helper()
	var history, first time.Time
	for key := range s.snapshot() {
		if !strings.Contains(key, "/"+l.String()) {
			continue
		}
		info, err := os.Stat(filepath.Join(s.dir, key))
		if err != nil {
			continue
		}
		switch at := info.ModTime(); {
		case strings.HasSuffix(key, ".history"):
			history = at
		case !strings.Contains(key, "/note/") && (first.IsZero() || at.Before(first)):
			first = at
		}
	}
	if history.IsZero() || first.IsZero() || first.Before(history) {
		s.t.Errorf("%s: its history was stored at %s, its first WAL at %s", l, history, first)
	}
}
