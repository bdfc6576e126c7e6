package main

import (
	"fmt"
	"slices"
	"strings"

	"walkeep/replication"
)

// results turns the facts into lines.
func (f *serverFacts) results() []checkResult {
	results := f.connect()
	items := []func() []checkResult{
		f.sql, f.minorVersion, f.walLevel, f.fsync, f.walsenders, f.freeSlots, f.slotState, f.slotLimit,
		f.slotRoom, f.idleSlot, f.synchronous, f.logicalFailover, f.senderTimeout, f.archiveMode,
	}
	if f.connectErr != nil && f.version == 0 {
		items = nil // nothing is known beyond that
	}
	for _, item := range items {
		results = append(results, item()...)
	}
	return results
}

// minorVersion warns of what we know to be wrong or don't know at all.
func (f *serverFacts) minorVersion() []checkResult {
	major, minor := f.version/10000, f.version%10000
	name := fmt.Sprintf("PostgreSQL %d.%d", major, minor)
	switch {
	case major < 13:
		return []checkResult{failed("version", name+" is too old: walkeep needs 13 or later", "upgrade PostgreSQL")}
	case major == 13 && minor < 5 || major == 14 && minor < 1:
		return []checkResult{warned("version", name+" may, after a crash, write other bytes where it has already sent WAL: the archive would then hold another history",
			fmt.Sprintf("update to the latest minor release of PostgreSQL %d", major))}
	case major > 18:
		return []checkResult{warned("version", name+" is newer than this walkeep: its WAL is archived, but its records can't be checked",
			"use a newer walkeep")}
	}
	return []checkResult{passed("version", name)}
}

func (f *serverFacts) walLevel() []checkResult {
	switch level := f.settings["wal_level"]; level {
	case "replica", "logical":
		return []checkResult{passed("wal_level", level)}
	case "":
		return nil
	default:
		return []checkResult{failed("wal_level", level+" leaves out what recovery needs", "ALTER SYSTEM SET wal_level = 'replica'; then restart PostgreSQL")}
	}
}

func (f *serverFacts) fsync() []checkResult {
	if f.settings["fsync"] != "off" {
		return nil
	}
	return []checkResult{warned("fsync", "fsync is off: after a crash of its host the server may come back without WAL that is archived already",
		"ALTER SYSTEM SET fsync = 'on'; SELECT pg_reload_conf();")}
}

// wantedWalsenders is what receive needs at most: the stream and a base backup.
const wantedWalsenders = 2

func (f *serverFacts) walsenders() []checkResult {
	limit, ok := f.setting("max_wal_senders")
	if !ok || f.role == nil {
		return nil // a failed connection has its own line
	}
	wanted := wantedWalsenders
	if slot := f.ourSlot(); slot != nil && slot.Active {
		wanted-- // the stream runs already
	}
	free := limit - len(f.senders)
	detail := fmt.Sprintf("%d of max_wal_senders = %d are free", max(free, 0), limit)
	switch {
	case free <= 0 && f.connectErr != nil && replication.Classify(f.connectErr) == replication.ClassLimits:
		return nil
	case free <= 0 && wanted > 0:
		return []checkResult{failed("walsenders", detail, f.moreWalsenders())}
	case free < wanted:
		return []checkResult{warned("walsenders", detail+": enough for the stream, not for a base backup beside it", f.moreWalsenders())}
	}
	return []checkResult{passed("walsenders", detail)}
}

// moreWalsenders raises the limit to what is in use and what we need, and leaves some room.
func (f *serverFacts) moreWalsenders() string {
	const room = 3
	limit, _ := f.setting("max_wal_senders")
	return fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart PostgreSQL (standbys first)",
		max(limit, len(f.senders), 5)+wantedWalsenders+room)
}

func (f *serverFacts) freeSlots() []checkResult {
	limit, ok := f.setting("max_replication_slots")
	if !ok || f.role == nil || !f.slotsKnown {
		return nil
	}
	if f.ourSlot() != nil {
		return nil
	}
	detail := fmt.Sprintf("%d of max_replication_slots = %d are free", max(limit-len(f.slots), 0), limit)
	if limit > len(f.slots) {
		return []checkResult{passed("slots", detail)}
	}
	fix := fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d; then restart PostgreSQL", max(limit+5, 10))
	if idle := f.idleSlots(); len(idle) > 0 {
		fix += "; or drop a slot that nobody uses: " + strings.Join(idle, ", ")
	}
	return []checkResult{failed("slots", detail, fix)}
}

func (f *serverFacts) idleSlots() []string {
	var names []string
	for _, slot := range f.slots {
		if !slot.Active {
			names = append(names, slot.Name)
		}
	}
	return names
}

// synchronous tells what our being a synchronous standby means.
func (f *serverFacts) synchronous() []checkResult {
	setting, ok := f.settings["synchronous_standby_names"]
	if !ok || f.standby {
		return nil
	}
	names, err := replication.ParseSyncStandbys(setting)
	switch {
	case err != nil:
		return []checkResult{warned("synchronous", err.Error(), "tell which names are listed: SHOW synchronous_standby_names;")}
	case !names.Matches(f.application):
		return []checkResult{passed("synchronous", fmt.Sprintf("no: synchronous_standby_names doesn't list %s; with the database's host the last second or so of commits is lost", f.application))}
	case names.Requires(f.application) || slices.Contains(names.Names, "*") && len(f.otherSenders()) < names.Quorum:
		return []checkResult{warned("synchronous", fmt.Sprintf("every commit waits for %s: nothing confirmed is ever lost, and while the repository can't be reached, commits wait", f.application),
			"if commits must go on then, list another standby in synchronous_standby_names beside it; now: "+setting)}
	}
	return []checkResult{passed("synchronous", fmt.Sprintf("yes: commits may wait for %s (%s)", f.application, setting))}
}

// otherSenders are the walsenders that aren't ours.
func (f *serverFacts) otherSenders() []replication.SenderInfo {
	return slices.DeleteFunc(slices.Clone(f.senders), func(s replication.SenderInfo) bool {
		return strings.EqualFold(s.ApplicationName, f.application)
	})
}

func (f *serverFacts) logicalFailover() []checkResult {
	for name := range strings.SplitSeq(f.settings["synchronized_standby_slots"], ",") {
		if strings.Trim(strings.TrimSpace(name), `"`) == f.slot {
			return []checkResult{warned("logical_failover", "synchronized_standby_slots lists "+f.slot+": logical subscribers wait for the repository",
				"take "+f.slot+" out of synchronized_standby_slots; now: "+f.settings["synchronized_standby_slots"])}
		}
	}
	return nil
}

func (f *serverFacts) senderTimeout() []checkResult {
	text, ok := f.settings["wal_sender_timeout"]
	if !ok {
		return nil
	}
	if d, err := replication.ParseDuration(text); err != nil || d != 0 {
		return []checkResult{passed("sender_timeout", text)}
	}
	return []checkResult{warned("sender_timeout", "wal_sender_timeout is 0: a receiver that died keeps the slot, and the next one waits for ever",
		"ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();")}
}

func (f *serverFacts) archiveMode() []checkResult {
	switch mode := f.settings["archive_mode"]; mode {
	case "":
		return nil
	case "off":
		return []checkResult{passed("archive_mode", "off; walkeep doesn't need it")}
	default:
		return []checkResult{passed("archive_mode", mode+"; archive_command goes on beside walkeep, which doesn't need it")}
	}
}
