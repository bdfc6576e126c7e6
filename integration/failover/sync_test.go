package failover_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// A drama is a cluster under synchronous load that loses its primary again and again.
type drama struct {
	*site
	chance  *rand.Rand
	base    string       // base backup from before the first commit
	clients *fault.Proxy // where clients find the primary
	primary *postgres.Server
	r       *walkeep.Receiver
	alone   bool // the archive is all that is left of a lost primary: the receiver is lost with it
}

// TestSynchronousFailover loses the primary again and again while clients commit synchronously: every commit that a client
// was told of is in the database that is restored from the archive in the end.
func TestSynchronousFailover(t *testing.T) {
	for _, top := range []struct {
		name        string
		synchronous string // synchronous_standby_names; a standby's name is walreceiver
		begin       func(d *drama) (failover func())
	}{
		{"direct", "walkeep", (*drama).direct},
		{"cascading", "walreceiver", (*drama).cascading},
		{"two standbys", "2 (walkeep, walreceiver)", (*drama).twoStandbys},
	} {
		t.Run(top.name, func(t *testing.T) {
			t.Parallel()
			failovers, allowed := 2, 3*time.Minute
			if walkeep.Long() {
				failovers, allowed = 50, time.Hour
			}
			s := newSite(t, postgres.Options{Config: map[string]string{"wal_keep_size": "64MB"}})
			s.ctx = limit(t, allowed)
			d := &drama{site: s, chance: random(t), clients: fault.Start(t, s.first.Addr()), primary: s.first}
			must(t, s.first.AppendConfig(map[string]string{"synchronous_standby_names": top.synchronous, "synchronous_commit": "on"}))
			failover := top.begin(d)
			d.base = s.base(s.first) // the archive begins before it
			must(t, s.first.Reload(s.ctx))
			d.play(failovers, failover)
		})
	}
}

// play runs clients over the failovers, and restores.
func (d *drama) play(failovers int, failover func()) {
	d.t.Helper()
	book := &ledger{}
	stop := d.load(book, d.first.DSNAt(d.clients.Addr()))
	d.more(book)
	for range failovers {
		pause(d.ctx, time.Duration(d.chance.Int64N(int64(300*time.Millisecond))))
		if d.alone { // so that what was acknowledged from its memory would be lost with it
			must(d.t, d.r.Kill9())
		}
		must(d.t, d.primary.Kill9())
		lost := d.primary
		failover()
		d.clients.SetTarget(d.primary.Addr())
		d.clients.Reset()
		if lost != d.first { // which has the repository
			must(d.t, lost.Close())
		}
		d.more(book)
	}
	stop()
	d.archived(d.primary)
	d.noAlarm(d.r)
	restored := d.restore(d.base, nil)
	missing := restored.MustQuery(d.t, "SELECT coalesce(string_agg(i::text, ' '), '') FROM unnest($1::int[]) i WHERE i NOT IN (SELECT id FROM written)",
		book.committed)
	if missing != "" {
		d.t.Errorf("commits that clients were told of are not in the restored database: %s", missing)
	}
	d.t.Logf("%d acknowledged commits over %d failovers", len(book.committed), failovers)
}

// more waits until clients have been told of more commits.
func (d *drama) more(book *ledger) {
	d.t.Helper()
	before := book.count()
	must(d.t, poll.Until(d.ctx, "clients to commit", func(context.Context) (bool, error) { return book.count() > before+30, nil }))
}

// direct: there is nothing but the primary and the archive. A lost primary is restored from the archive.
func (d *drama) direct() (failover func()) {
	d.r, d.alone = d.streaming(), true
	return func() {
		d.primary = d.restore(d.base, map[string]string{"synchronous_standby_names": "walkeep"})
		d.move(d.primary)
		d.r = d.streaming()
	}
}

// cascading: commits wait for a standby, and WAL is archived from there.
func (d *drama) cascading() (failover func()) {
	standby := d.first.Standby(d.t, "", postgres.Options{})
	d.address.SetTarget(standby.Addr())
	d.r = d.streaming()
	return func() {
		must(d.t, standby.Promote(d.ctx))
		d.primary = standby
		d.archived(d.primary) // from the standby that is none any more
		standby = d.primary.Standby(d.t, "", postgres.Options{})
		d.move(standby)
	}
}

// twoStandbys: commits wait for the archive and one of two standbys; of these the one that is ahead is promoted.
func (d *drama) twoStandbys() (failover func()) {
	addresses := []*fault.Proxy{d.address, fault.Start(d.t, d.first.Addr()), fault.Start(d.t, d.first.Addr())}
	one, two := d.first.Standby(d.t, "", postgres.Options{}), d.first.Standby(d.t, "", postgres.Options{})
	name := func() {
		for i, s := range []*postgres.Server{d.primary, one, two} {
			addresses[i].SetTarget(s.Addr())
			addresses[i].Reset()
		}
	}
	name()
	dsn := fmt.Sprintf("host=127.0.0.1,127.0.0.1,127.0.0.1 port=%s,%s,%s user=postgres sslmode=disable",
		portOf(addresses[0]), portOf(addresses[1]), portOf(addresses[2]))
	d.r = d.receiveFrom(dsn)
	_, err := d.r.WaitState(d.ctx, "streaming")
	must(d.t, err)
	return func() {
		ahead, behind := d.farther(one, two)
		must(d.t, ahead.Promote(d.ctx))
		d.follow(behind, ahead.Addr())
		d.primary, one = ahead, behind
		two = d.primary.Standby(d.t, "", postgres.Options{})
		name()
	}
}
