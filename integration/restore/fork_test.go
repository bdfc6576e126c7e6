package restore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"walkeep/catalog"
	"walkeep/integration/postgres"
	"walkeep/segment"
	"walkeep/storage"
	"walkeep/storage/open"
)

// S46, S55: a standby was promoted, its history is archived and not one byte of its timeline; the old primary wrote on for
// several segments, which are archived too. A recovery to the newest timeline ends at the switch point.
func TestS55RestoredToTheSwitchPoint(t *testing.T) {
	for _, major := range majors() {
		for _, where := range []string{"in a segment", "at a boundary"} {
			t.Run(fmt.Sprint(major, " ", where), func(t *testing.T) {
				ctx := limit(t, 3*time.Minute)
				l := newLab(t, ctx, postgres.Options{Major: major}, "")
				l.MustExec(t, "CREATE TABLE marks (said text); INSERT INTO marks VALUES ('before')")
				var at segment.LSN
				var err error
				if where == "at a boundary" {
					if _, err = l.SwitchWAL(ctx); err == nil {
						at, err = l.FlushLSN(ctx)
						at = segment.MinSize.Start(at + segment.LSN(segment.MinSize) - 1)
					}
				} else {
					at, err = l.FlushLSN(ctx)
				}
				must(t, err)
				l.MustExec(t, "INSERT INTO marks VALUES ('after')")
				for range 3 {
					_, err := l.SwitchWAL(ctx)
					must(t, err)
				}
				flushed, err := l.FlushLSN(ctx)
				must(t, err)
				must(t, l.receiver.WaitDurable(ctx, flushed))
				l.promotedElsewhere(ctx, at)
				l.lose()

				s := l.recovering(l.fetch()+wrapper, nil)
				l.opens(s)
				if got := s.MustQuery(t, "SELECT string_agg(said, ' ') FROM marks"); got != "before" {
					t.Errorf("restored %q, want what was before the switch point", got)
				}
				if got := s.MustQuery(t, "SELECT timeline_id::text FROM pg_control_checkpoint()"); got != "3" {
					t.Errorf("open on timeline %s, want 3", got)
				}
				if log := s.Log(0); !strings.Contains(log, `restored log file "00000002`) {
					t.Errorf("nothing of timeline 2 was restored:\n%s", log)
				}
				// The old timeline is still there for who asks for it.
				s = l.recovering(l.fetch()+wrapper, map[string]string{"recovery_target_timeline": "1"})
				l.opens(s)
				if got := s.MustQuery(t, "SELECT string_agg(said, ' ') FROM marks"); got != "before after" {
					t.Errorf("timeline 1 restored %q", got)
				}
			})
		}
	}
}

// promotedElsewhere archives the history that a promotion at that position leaves.
func (l *lab) promotedElsewhere(ctx context.Context, at segment.LSN) {
	l.t.Helper()
	store, err := open.Existing(ctx, l.repo, func(string) string { return "" })
	must(l.t, err)
	c, err := catalog.OpenOnly(ctx, storage.Store(store))
	must(l.t, err)
	_, err = c.PutHistory(ctx, 2, fmt.Appendf(nil, "1\t%s\tno recovery target specified\n", at))
	must(l.t, err)
}
