package scenario_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walkeep/integration/fault"
	"walkeep/integration/oracle"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/segment"
	"walkeep/segment/record"
	"walkeep/storage/storagetest"
)

// TestS04ServerStops stops the server with pg_ctl's fast mode while storage is up, slow or down. It stops soon, at the latest
// after --release-after; where storage answers, the shutdown checkpoint is in the repository by then.
func TestS04ServerStops(t *testing.T) {
	for _, c := range []struct {
		storage string
		major   int
		harm    func(*fault.Proxy)
		release time.Duration
		limit   time.Duration // of the stop
		holds   bool          // the repository holds the shutdown checkpoint
	}{
		{"up", 13, func(*fault.Proxy) {}, 20 * time.Second, 8 * time.Second, true},
		{"up", 18, func(*fault.Proxy) {}, 20 * time.Second, 8 * time.Second, true},
		{"slow", 15, func(p *fault.Proxy) { p.Latency(fault.ToServer, 700*time.Millisecond) }, 20 * time.Second, 15 * time.Second, true},
		{"down", 15, func(p *fault.Proxy) { p.Down() }, 3 * time.Second, 13 * time.Second, false},
		{"silent", 18, func(p *fault.Proxy) { p.Cut() }, 3 * time.Second, 13 * time.Second, false},
	} {
		t.Run(fmt.Sprintf("storage %s on %d", c.storage, c.major), func(t *testing.T) {
			t.Parallel()
			ctx := limit(t, 2*time.Minute)
			gateway := storagetest.StartGateway(t)
			proxy := fault.Start(t, gateway.Endpoint[len("http://"):])
			s := newBucket(t, postgres.Options{Major: c.major}, gateway, "http://"+proxy.Addr())
			j := s.judge(t, ctx)
			through := newTap(t, s.Addr(), j.status)
			r := s.receiveAt(t, through.addr, "--release-after", c.release.String())
			s.caughtUp(t, ctx, r)
			c.harm(proxy)
			must(t, s.emit(ctx, 100_000))
			took, err := s.Stop(postgres.Fast)
			must(t, err)
			t.Logf("stopped in %s", took.Round(time.Millisecond))
			if took > c.limit {
				t.Errorf("the server took %s to stop, want at most %s", took, c.limit)
			}
			if !c.holds && took < c.release {
				t.Errorf("the server stopped in %s: nobody waited for storage", took)
			}
			if c.holds {
				holdsShutdown(t, ctx, s)
			}
			proxy.Heal()
			must(t, proxy.Up())
			must(t, s.Start())
			s.caughtUp(t, ctx, r)
			noGap(t, ctx, r)
			s.hasRecord(t, ctx, checkpoint(t, s.Server))
		})
	}
}

// checkpoint is where the latest checkpoint's record is, by the control file (catalog/pg_control.h: ControlFileData, field
// checkPoint; the same from 13 to 18).
func checkpoint(t testing.TB, s *postgres.Server) segment.LSN {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.DataDir(), "global", "pg_control"))
	must(t, err)
	return segment.LSN(binary.LittleEndian.Uint64(b[32:]))
}

// holdsShutdown checks that the stopped server's last record is in the repository: its shutdown checkpoint.
func holdsShutdown(t testing.TB, ctx context.Context, c *cluster) {
	t.Helper()
	const shutdown = 0 // XLOG_CHECKPOINT_SHUTDOWN, of resource manager RM_XLOG_ID, which is 0 too
	rec := c.hasRecord(t, ctx, checkpoint(t, c.Server))
	if rec.RMID != 0 || rec.Info&0xF0 != shutdown {
		t.Errorf("the record at %s is no shutdown checkpoint: resource manager %d, info %#x", rec.LSN, rec.RMID, rec.Info)
	}
	end, err := c.frontier(ctx)
	must(t, err)
	if end != rec.End {
		t.Errorf("the repository ends at %s, the server's last record at %s", end, rec.End)
	}
}

// hasRecord fetches the segment of a record, as restore_command would, and decodes up to the record.
func (c *cluster) hasRecord(t testing.TB, ctx context.Context, lsn segment.LSN) record.Record {
	t.Helper()
	cat := c.catalog(t, ctx)
	name := segment.NameAt(1, lsn, cat.SegmentSize())
	env := c.env
	if c.s3 != "" {
		env = []string{"WALKEEP_S3_ENDPOINT=" + c.s3}
	}
	raw, err := oracle.Fetch(t, c.repo, env...)(ctx, name.String())
	must(t, err)
	reader := record.NewReader(cat.SystemID(), 1, cat.SegmentSize(), name.Start())
	reader.AllowPadding()
	reader.Feed(raw)
	for reader.Next() {
		if reader.Record().LSN == lsn {
			return reader.Record()
		}
	}
	t.Fatalf("segment %s as fetched has no record at %s: it ends at %s, %v", name, lsn, reader.Position(), reader.Err())
	return record.Record{}
}

// TestStopOfReceiver sends SIGTERM: what was received is durable and acknowledged before the receiver leaves, though
// no link was due yet.
func TestStopOfReceiver(t *testing.T) {
	t.Parallel()
	ctx := limit(t, time.Minute)
	c := newCluster(t, postgres.Options{})
	j := c.judge(t, ctx)
	through := newTap(t, c.Addr(), j.status)
	r := c.receiveAt(t, through.addr, "--tail-interval", "10m")
	_, err := r.WaitState(ctx, "streaming")
	must(t, err)
	must(t, c.emit(ctx, 100_000))
	flushed, err := c.FlushLSN(ctx)
	must(t, err)
	s, err := r.WaitStatus(ctx, "received "+flushed.String(), func(s walkeep.Status) bool { return s.Received() >= flushed })
	must(t, err)
	if s.Durable() >= flushed {
		t.Fatalf("durable up to %s without a reason", s.Durable())
	}
	began := time.Now()
	exit, err := r.Term()
	if err != nil || exit != 0 {
		t.Fatalf("exit code %d, %v", exit, err)
	}
	t.Logf("left in %s", time.Since(began).Round(time.Millisecond))
	end, err := c.frontier(ctx)
	must(t, err)
	if end < flushed {
		t.Errorf("the repository ends at %s, received was %s", end, flushed)
	}
	// The server may still be reading what we sent last.
	must(t, poll.Until(ctx, "slot to be where the repository ends", func(context.Context) (bool, error) {
		return c.MustQuery(t, "SELECT restart_lsn FROM pg_replication_slots") == end.String(), nil
	}))
}

// TestStopOfReceiverWithoutStorage: it leaves in time, and says what it leaves behind; the slot keeps that.
func TestStopOfReceiverWithoutStorage(t *testing.T) {
	t.Parallel()
	ctx := limit(t, 2*time.Minute)
	gateway := storagetest.StartGateway(t)
	c := newBucket(t, postgres.Options{}, gateway, gateway.Endpoint)
	r := c.receive(t, "--stop-timeout", "2s")
	before := c.caughtUp(t, ctx, r)
	gateway.Pause()
	must(t, c.emit(ctx, 100_000))
	flushed, err := c.FlushLSN(ctx)
	must(t, err)
	_, err = r.WaitStatus(ctx, "received "+flushed.String(), func(s walkeep.Status) bool { return s.Received() >= flushed })
	must(t, err)
	began := time.Now()
	exit, err := r.Term()
	took := time.Since(began)
	if err != nil || exit != 0 || took > 8*time.Second {
		t.Errorf("exit code %d after %s, %v", exit, took, err)
	}
	t.Logf("left in %s", took.Round(time.Millisecond))
	if !strings.Contains(r.Log(), "the server keeps it") {
		t.Error("it left without a word about what is not durable")
	}
	slot, err := segment.ParseLSN(c.MustQuery(t, "SELECT restart_lsn FROM pg_replication_slots"))
	must(t, err)
	if slot < before || slot >= flushed {
		t.Errorf("slot at %s, want it from %s on and before %s", slot, before, flushed)
	}
	gateway.Resume()
	c.caughtUp(t, ctx, c.receive(t))
}
