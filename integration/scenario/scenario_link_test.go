package scenario_test

import (
	"context"
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// TestS06WalsenderTerminatedEverySecond: progress all the time, and no more connections than were ended.
func TestS06WalsenderTerminatedEverySecond(t *testing.T) {
	t.Parallel()
	length := 20 * time.Second
	if walkeep.Long() {
		length = 5 * time.Minute
	}
	ctx := limit(t, length+2*time.Minute)
	c := newCluster(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true})
	j := c.judge(t, ctx)
	through := newTap(t, c.Addr(), j.status)
	r := c.receiveAt(t, through.addr)
	c.caughtUp(t, ctx, r)
	stopLoad := c.bench(t, ctx, "-c", "2", "-R", "200")
	terminations, last := 0, c.caughtUp(t, ctx, r)
	for end := time.Now().Add(length); time.Now().Before(end); {
		if c.MustQuery(t, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication") != "0" {
			terminations++
		}
		pause(ctx, time.Second)
		s, err := r.Status(ctx)
		must(t, err)
		if terminations%5 == 0 {
			if s.Durable() <= last {
				t.Errorf("no progress over five terminations: still %s", last)
			}
			last = s.Durable()
		}
	}
	stopLoad()
	names := c.compare(t, ctx, r)
	noGap(t, ctx, r)
	s, err := r.Status(ctx)
	must(t, err)
	t.Logf("%d terminations, %d reconnects, %d segments equal", terminations, s.Reconnects, len(names))
	if s.Reconnects < int64(terminations) || s.Reconnects > 3*int64(terminations) {
		t.Errorf("%d reconnects after %d terminations", s.Reconnects, terminations)
	}
}

// TestS07IdleServer: nothing happens at all, for more than 20 times wal_sender_timeout.
func TestS07IdleServer(t *testing.T) {
	t.Parallel()
	const timeout = 1500 * time.Millisecond
	ctx := limit(t, 4*time.Minute)
	c := newCluster(t, postgres.Options{Config: map[string]string{
		"wal_sender_timeout": "1500ms", "autovacuum": "off", "checkpoint_timeout": "1h",
	}})
	r := c.receive(t)
	c.MustExec(t, "CREATE TABLE settled AS SELECT 1; CHECKPOINT")
	idle := func() idleness {
		flushed := c.caughtUp(t, ctx, r)
		s, err := r.WaitStatus(ctx, "lag 0", func(s walkeep.Status) bool { return s.LagBytes == 0 })
		must(t, err)
		return idleness{flushed.String(), objects(t, c), s.Reconnects, s.State}
	}
	// Up to 15 s after its last work the background writer notes the running transactions.
	begin, since := idle(), time.Now()
	for time.Since(since) < 21*timeout {
		if lsn, err := c.FlushLSN(ctx); err != nil || lsn.String() != begin.flushed {
			must(t, err)
			begin, since = idle(), time.Now()
		}
		code, body, err := r.Get(ctx, "/healthz")
		must(t, err)
		s, err := r.Status(ctx)
		must(t, err)
		if code != http.StatusOK || !s.LagKnown || s.LagBytes != 0 || s.LagSeconds != 0 {
			t.Fatalf("health %d %s, status %s", code, body, s.Raw)
		}
		pause(ctx, 100*time.Millisecond)
	}
	if end := idle(); end != begin {
		t.Errorf("idle for %s: %+v became %+v", time.Since(since), begin, end)
	}
}

// idleness is what must not change while the server is idle.
type idleness struct {
	flushed    string
	objects    int
	reconnects int64
	state      string
}

// objects counts the files of a directory repository.
func objects(t testing.TB, c *cluster) int {
	t.Helper()
	n := 0
	must(t, filepath.WalkDir(c.repo[len("file://"):], func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	}))
	return n
}

// TestS08DeadPeer: a server whose processes stand still, and a network that delivers nothing and closes nothing. Both are
// noticed, and nothing is missing after them.
func TestS08DeadPeer(t *testing.T) {
	const timeout = 3 * time.Second
	for _, c := range []struct {
		name       string
		harm, mend func(c *cluster, p *fault.Proxy) error
	}{
		{"frozen server", func(c *cluster, _ *fault.Proxy) error { return c.Freeze() }, func(c *cluster, _ *fault.Proxy) error { return c.Thaw() }},
		{
			"half-open connection",
			func(_ *cluster, p *fault.Proxy) error { p.Cut(); return nil },
			func(_ *cluster, p *fault.Proxy) error { p.Heal(); return nil },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := limit(t, 2*time.Minute)
			s := newCluster(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true, Config: map[string]string{"wal_sender_timeout": "3s"}})
			proxy := fault.Start(t, s.Addr())
			r := s.receiveAt(t, proxy.Addr())
			s.caughtUp(t, ctx, r)
			stopLoad := s.steady(t, ctx, 1<<20)
			pause(ctx, time.Second)
			must(t, c.harm(s, proxy))
			began := time.Now()
			_, err := r.WaitStatus(ctx, "the receiver to notice", func(s walkeep.Status) bool { return s.State != "streaming" })
			must(t, err)
			noticed := time.Since(began)
			t.Logf("noticed after %s", noticed.Round(time.Millisecond))
			if noticed > timeout+3*time.Second {
				t.Errorf("noticed after %s, wal_sender_timeout is %s", noticed, timeout)
			}
			pause(ctx, time.Second)
			must(t, c.mend(s, proxy))
			_, err = r.WaitState(ctx, "streaming")
			must(t, err)
			stopLoad()
			names := s.compare(t, ctx, r)
			s.caughtUp(t, ctx, r)
			noGap(t, ctx, r)
			t.Logf("streaming again %s after the break; %d segments equal", time.Since(began).Round(time.Millisecond), len(names))
		})
	}
}

// TestS62NetworkCut: within half of wal_sender_timeout the lag counts as unknown and the health turns, although nothing has
// told the receiver that the server is away.
func TestS62NetworkCut(t *testing.T) {
	t.Parallel()
	const (
		timeout = 6 * time.Second
		margin  = time.Second // of a busy machine
	)
	ctx := limit(t, 2*time.Minute)
	c := newCluster(t, postgres.Options{Config: map[string]string{"wal_sender_timeout": "6s"}})
	proxy := fault.Start(t, c.Addr())
	r := c.receiveAt(t, proxy.Addr())
	c.caughtUp(t, ctx, r)
	healthy := func(ctx context.Context) (bool, error) {
		code, _, err := r.Get(ctx, "/healthz")
		return code == http.StatusOK, err
	}
	must(t, poll.Until(ctx, "health", healthy))
	proxy.Cut()
	cut := time.Now()
	_, err := r.WaitStatus(ctx, "the lag to be unknown", func(s walkeep.Status) bool { return !s.LagKnown })
	must(t, err)
	unknown := time.Since(cut)
	must(t, poll.Until(ctx, "health to turn", func(ctx context.Context) (bool, error) {
		ok, err := healthy(ctx)
		return !ok, err
	}))
	turned := time.Since(cut)
	t.Logf("lag unknown after %s, unhealthy after %s", unknown.Round(time.Millisecond), turned.Round(time.Millisecond))
	if unknown > timeout/2+margin || turned > timeout/2+margin {
		t.Errorf("lag unknown after %s, unhealthy after %s: want both within %s", unknown, turned, timeout/2)
	}
	proxy.Heal()
	_, err = r.WaitStatus(ctx, "the lag to be known again", func(s walkeep.Status) bool { return s.LagKnown && s.LagBytes == 0 })
	must(t, err)
	must(t, poll.Until(ctx, "health", healthy))
}
