package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"walkeep/replication"
	"walkeep/segment"
)

// serverFacts is what can be found out about one host: all input of the items.
type serverFacts struct {
	host        replication.Host
	application string
	slot        string // name of ours

	connectErr error // of the replication connection
	sqlErr     error // of the SQL connection, or of what was asked there

	version  int // server_version_num, 0 if not known
	systemID uint64
	standby  bool
	settings map[string]string // what SHOW prints; a name is missing if it isn't known

	role    *replication.Role        // nil without SQL
	slots   []replication.SlotInfo   // without SQL: ours only, if it exists
	senders []replication.SenderInfo // without our own connection
	// slotsKnown: slots is complete or, without SQL, at least tells the truth about ours.
	slotsKnown bool
	rate       walRate
}

// walRate is how fast the server writes WAL, in bytes per second.
type walRate struct {
	known       bool
	sampled     float64
	sampledOver time.Duration
	average     float64 // since the statistics began, 0 if not known
	averageOver time.Duration
}

// leastStatistics is how long the server must have counted WAL for the average to say anything.
const leastStatistics = 10 * time.Minute

// worst is the larger of the two rates.
func (r walRate) worst() float64 { return max(r.sampled, r.average) }

// settingNames are the settings that items look at.
var settingNames = []string{
	"server_version", "wal_level", "fsync", "max_wal_senders", "max_replication_slots", "max_slot_wal_keep_size",
	"max_wal_size", "idle_replication_slot_timeout", "synchronous_standby_names", "archive_mode",
	"wal_sender_timeout", "synchronized_standby_slots",
}

// gather asks one host. It never fails: what could not be found out is part of the facts.
func (c *checker) gather(ctx context.Context, host replication.Host) serverFacts {
	f := serverFacts{
		host: host, application: c.config.ApplicationName, slot: c.slot, settings: map[string]string{},
	}
	conn, err := replication.Connect(ctx, c.config, host)
	f.connectErr = err
	sql, err := replication.OpenSQL(ctx, c.config, host)
	f.sqlErr = err
	own := 0
	if conn != nil {
		defer closeQuietly(ctx, conn.Close)
		own = conn.PID()
		f.askReplication(ctx, conn)
		f.sampleRate(ctx, conn, c.sample)
	}
	if sql != nil {
		defer closeQuietly(ctx, sql.Close)
		f.askSQL(ctx, sql, own)
	}
	return f
}

// closeQuietly closes a connection whose answers are all in: how it ends changes none of them.
func closeQuietly(ctx context.Context, closeConn func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = closeConn(ctx)
}

func (f *serverFacts) askReplication(ctx context.Context, conn *replication.Conn) {
	f.version = conn.ServerVersion()
	if system, err := conn.Identify(ctx); err == nil {
		f.systemID = system.ID
	}
	f.standby, _ = conn.InRecovery(ctx)
	for _, name := range settingNames {
		if value, err := conn.Show(ctx, name); err == nil {
			f.settings[name] = value
		}
	}
	slot, err := conn.ReadSlot(ctx, f.slot)
	switch {
	case errors.Is(err, replication.ErrSlotLogical):
		f.slotsKnown = true
		f.slots = []replication.SlotInfo{{Name: f.slot, Type: "logical"}}
	case err == nil:
		f.slotsKnown = true
		if slot.Exists {
			f.slots = []replication.SlotInfo{{Name: f.slot, Type: "physical", RestartLSN: slot.RestartLSN}}
		}
	}
}

// sampleRate watches the end of WAL for a while.
func (f *serverFacts) sampleRate(ctx context.Context, conn *replication.Conn, sample time.Duration) {
	position := func() (segment.LSN, time.Time, bool) {
		system, err := conn.Identify(ctx)
		return system.Flush, time.Now(), err == nil
	}
	from, begin, ok := position()
	timer := time.NewTimer(sample)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	to, end, ok2 := position()
	if !ok || !ok2 || to < from {
		return
	}
	over := end.Sub(begin)
	f.rate = walRate{known: true, sampled: float64(to-from) / over.Seconds(), sampledOver: over}
}

func (f *serverFacts) askSQL(ctx context.Context, sql *replication.SQL, ownPID int) {
	f.version = sql.ServerVersion()
	for _, name := range settingNames {
		if _, ok := f.settings[name]; ok {
			continue
		}
		if value, err := sql.Setting(ctx, name); err == nil && value != "" {
			f.settings[name] = value
		}
	}
	role, err := sql.Role(ctx)
	if err == nil {
		f.role = &role
	}
	slots, slotsErr := sql.Slots(ctx)
	if slotsErr == nil {
		f.slots, f.slotsKnown = slots, true
	}
	senders, sendersErr := sql.Senders(ctx)
	f.senders = slices.DeleteFunc(senders, func(s replication.SenderInfo) bool { return s.PID == ownPID })
	if average, over, err := sql.AverageWALRate(ctx); err == nil && over >= leastStatistics {
		f.rate.known = true
		f.rate.average, f.rate.averageOver = average, over
	}
	f.sqlErr = errors.Join(err, slotsErr, sendersErr)
}

// setting returns a setting as a number, and whether it is known.
func (f *serverFacts) setting(name string) (int, bool) {
	n, err := strconv.Atoi(f.settings[name])
	return n, err == nil
}

// ourSlot returns our slot, nil if there is none or it isn't known.
func (f *serverFacts) ourSlot() *replication.SlotInfo {
	for i := range f.slots {
		if f.slots[i].Name == f.slot {
			return &f.slots[i]
		}
	}
	return nil
}

func joinIDs(systems map[uint64]bool) string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(systems)) {
		ids = append(ids, strconv.FormatUint(id, 10))
	}
	return strings.Join(ids, ", ")
}
