package scenario_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/storage/storagetest"
)

// TestS56ReconnectWithSegmentsQueued drives a receiver into back-pressure with a store that takes five seconds for each
// object: it disconnects and connects again when half of the buffers are free, while a dozen segments are still on their
// way. What it acknowledges then is the Frontier, not where it starts.
func TestS56ReconnectWithSegmentsQueued(t *testing.T) {
	t.Parallel()
	ctx := limit(t, 6*time.Minute) // the proxy below shares this process with tests that compare gigabytes
	gateway := storagetest.StartGateway(t)
	slow := newSlowPuts(t, gateway.Endpoint)
	c := newBucket(t, postgres.Options{SegmentSizeMB: 1, ArchiveDir: true}, gateway, slow.URL)
	j := c.judge(t, ctx)
	through := newTap(t, c.Addr(), j.status)
	r := c.receiveAt(t, through.addr, "--buffers", "4")
	c.caughtUp(t, ctx, r)
	stopWatch := j.watchSlot()
	slow.delay.Store(int64(5 * time.Second))
	must(t, c.emit(ctx, 64<<20))
	must(t, poll.Until(ctx, "reconnects with segments queued", func(context.Context) (bool, error) {
		return j.reconnectsBehind() >= 2 || t.Failed(), nil
	}))
	slow.delay.Store(0)
	names := c.compare(t, ctx, r)
	noGap(t, ctx, r)
	stopWatch()
	t.Logf("%d segments equal; %d acknowledgements judged, %d of them first and below the start", len(names), j.seen, j.reconnectsBehind())
}

// slowPuts is an S3 server that takes its time for each object, and for nothing else.
type slowPuts struct {
	*httptest.Server
	delay atomic.Int64
}

func newSlowPuts(t testing.TB, endpoint string) *slowPuts {
	t.Helper()
	target, err := url.Parse(endpoint)
	must(t, err)
	transport := &http.Transport{}
	forward := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	s := &slowPuts{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			pause(r.Context(), time.Duration(s.delay.Load()))
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		transport.CloseIdleConnections()
	})
	return s
}
