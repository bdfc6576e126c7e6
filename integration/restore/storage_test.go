package restore_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/storage/storagetest"
)

// A moody store is an S3 server that can be told to answer 503, or with an error of the network.
type moody struct {
	server *httptest.Server
	proxy  *fault.Proxy // in front of server
	sulks  atomic.Bool  // answers 503
	asked  atomic.Int64 // requests answered with 503
}

func newMoody(t *testing.T, g *storagetest.Gateway) *moody {
	t.Helper()
	target, err := url.Parse(g.Endpoint)
	must(t, err)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	m := &moody{}
	// The signature covers the Host header: it stays.
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		Transport: transport,
	}
	m.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.sulks.Load() {
			m.asked.Add(1)
			http.Error(w, `<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>`, http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(m.server.Close)
	m.proxy = fault.Start(t, strings.TrimPrefix(m.server.URL, "http://"))
	return m
}

// newMoodyLab is a lab with its repository in a bucket, which is reached through moods.
func newMoodyLab(t *testing.T, ctx context.Context) (*lab, *moody) {
	t.Helper()
	g := storagetest.StartGateway(t)
	m := newMoody(t, g)
	return newLab(t, ctx, postgres.Options{}, "s3://"+g.Bucket+"/repo", "WALKEEP_S3_ENDPOINT=http://"+m.proxy.Addr(), "WALKEEP_S3_TIMEOUT=500ms"), m
}

// S40: storage answers 503, or not at all, in the middle of a recovery. It waits, and goes on when storage is back.
func TestS40RecoveryWaitsForStorage(t *testing.T) {
	for name, outage := range map[string]struct{ begin, end func(*moody) }{
		"503":       {func(m *moody) { m.sulks.Store(true) }, func(m *moody) { m.sulks.Store(false) }},
		"refused":   {func(m *moody) { m.proxy.Down() }, func(m *moody) { _ = m.proxy.Up() }},
		"no answer": {func(m *moody) { m.proxy.Cut() }, func(m *moody) { m.proxy.Heal() }},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := limit(t, 3*time.Minute)
			l, m := newMoodyLab(t, ctx)
			l.startLoad([loadSessions]int{})
			safe := l.more(200)
			l.lose()
			gate := l.newGate()
			s := l.recovering(gate.before(l.fetch()+wrapper), nil)
			must(t, s.StartContext(ctx)) // open for reading
			gate.reached()
			outage.begin(m)
			gate.open()
			must(t, poll.Until(ctx, "fetch to try again", func(context.Context) (bool, error) {
				return strings.Count(s.Log(0), "trying again") >= 1, nil
			}))
			if in := s.MustQuery(t, "SELECT pg_is_in_recovery()::text"); in != "true" {
				t.Errorf("in recovery: %s", in)
			}
			l.neverOpened(s)
			outage.end(m)
			l.opened(s)
			holds(t, ctx, s, safe, l.load.rows())
		})
	}
}

// S40: storage stays away for longer than --wait. Recovery stops; started again when storage is back, it goes on.
func TestS40RecoveryStopsWhenStorageStaysAway(t *testing.T) {
	ctx := limit(t, 3*time.Minute)
	l, m := newMoodyLab(t, ctx)
	l.startLoad([loadSessions]int{})
	safe := l.more(200)
	l.lose()
	gate := l.newGate()
	s := l.recovering(gate.before(l.fetch("--wait", "2s")+wrapper), nil)
	must(t, s.StartContext(ctx))
	gate.reached()
	m.sulks.Store(true)
	gate.open()
	must(t, s.WaitExit(ctx))
	l.neverOpened(s)
	if log := s.Log(0); !strings.Contains(log, "storage did not answer within --wait 2s") {
		t.Errorf("the log doesn't say why:\n%s", log)
	}
	l.stops(s) // from the beginning: the histories
	m.sulks.Store(false)
	l.opens(s)
	holds(t, ctx, s, safe, l.load.rows())
}

// S40: a standby whose archive is away stays up, and goes on when it is back.
func TestS40StandbyStaysUp(t *testing.T) {
	ctx := limit(t, 3*time.Minute)
	l, m := newMoodyLab(t, ctx)
	l.startLoad([loadSessions]int{})
	l.more(200)
	l.lose()
	gate := l.newGate()
	s := l.recovering(gate.before(l.fetch("--wait", "1s")), nil)
	must(t, os.Rename(filepath.Join(s.DataDir(), "recovery.signal"), filepath.Join(s.DataDir(), "standby.signal")))
	must(t, s.StartContext(ctx))
	gate.reached()
	m.sulks.Store(true)
	gate.open()
	must(t, poll.Until(ctx, "the standby to have asked twice", func(context.Context) (bool, error) {
		return strings.Count(s.Log(0), "PostgreSQL will ask again") >= 2, nil
	}))
	m.sulks.Store(false)
	// The last record may go on in the tail, which is not for standbys.
	must(t, s.WaitReplay(ctx, l.wholeSegments()-64<<10))
	if in := s.MustQuery(t, "SELECT pg_is_in_recovery()::text"); in != "true" || !s.Running() {
		t.Errorf("in recovery: %s, running: %t", in, s.Running())
	}
	holds(t, ctx, s, [loadSessions]int{}, l.load.rows())
}

// S41, S43: an object is missing in the middle, or damaged. Recovery stops and its log names file and object; put right, it
// goes on.
func TestS41HolesAndDamageStopRecovery(t *testing.T) {
	ctx := limit(t, 3*time.Minute)
	l := newLab(t, ctx, postgres.Options{}, "")
	l.startLoad([loadSessions]int{})
	safe := l.more(300)
	l.lose()
	n := l.backupStart().Next().Next()
	matches, err := filepath.Glob(filepath.Join(strings.TrimPrefix(l.repo, "file://"), "*", "wal", "*", "*", n.String()))
	must(t, err)
	if len(matches) != 1 {
		t.Fatalf("segment %s: %q", n, matches)
	}
	object, err := os.ReadFile(matches[0])
	must(t, err)
	key := matches[0][strings.Index(matches[0], "/wal/"):]
	s := l.recovering(l.fetch()+wrapper, nil)
	for name, breaks := range map[string]struct {
		damage func() error
		says   string
	}{
		"missing": {func() error { return os.Remove(matches[0]) }, "WAL file " + n.String() + " is missing"},
		"flipped": {func() error { return rewrite(matches[0], flipped(object, len(object)/2)) }, key},
		"head":    {func() error { return rewrite(matches[0], flipped(object, 30)) }, key},
		"cut":     {func() error { return rewrite(matches[0], object[:len(object)-100]) }, key},
		"empty":   {func() error { return rewrite(matches[0], nil) }, key},
	} {
		must(t, breaks.damage())
		before := len(s.Log(0))
		l.stops(s)
		if log := s.Log(0)[before:]; !strings.Contains(log, breaks.says) {
			t.Errorf("%s: the log doesn't say %q:\n%s", name, breaks.says, log)
		}
		must(t, rewrite(matches[0], object))
	}
	l.opens(s)
	holds(t, ctx, s, safe, l.load.rows())
}

func flipped(object []byte, at int) []byte {
	damaged := bytes.Clone(object)
	damaged[at] ^= 4
	return damaged
}

// rewrite keeps owner and mode.
func rewrite(path string, content []byte) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// S45: the server is killed in the middle of its recovery, and asks for earlier segments again.
func TestS45RecoveryKilledAndStartedAgain(t *testing.T) {
	ctx := limit(t, 3*time.Minute)
	l := newLab(t, ctx, postgres.Options{}, "")
	l.startLoad([loadSessions]int{})
	safe := l.more(300)
	l.lose()
	gate := l.newGate()
	s := l.recovering(gate.before(l.fetch()+wrapper), nil)
	must(t, s.StartContext(ctx))
	gate.reached()
	must(t, s.Kill9())
	gate.open()
	l.opens(s)
	holds(t, ctx, s, safe, l.load.rows())
	if left, _ := filepath.Glob(filepath.Join(s.DataDir(), "pg_wal", ".walkeep*")); len(left) > 0 {
		t.Errorf("fetch left %q", left)
	}
}

// S33: the store takes connections and never answers when a receiver starts. It says so, and leaves when it is told to.
func TestS33ReceiverBeforeABlackHole(t *testing.T) {
	ctx := limit(t, time.Minute)
	server := postgres.Start(t, postgres.Options{})
	r := walkeep.Receive(t, walkeep.ReceiveOptions{
		Repo: "s3://bucket/prefix", DSN: server.DSN(),
		Env: []string{"WALKEEP_S3_ENDPOINT=http://" + deaf(t), "WALKEEP_S3_TIMEOUT=300ms"},
	})
	_, err := r.WaitStatus(ctx, "storage that is said to be silent", func(s walkeep.Status) bool {
		return strings.Contains(string(s.Raw), "silent for 300ms") && s.State != "streaming"
	})
	must(t, err)
	if exit, err := r.Term(); err != nil || exit != 0 {
		t.Errorf("exit %d, %v", exit, err)
	}
}
