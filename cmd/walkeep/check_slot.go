package main

import (
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"

	"walkeep/replication"
)

const (
	// wantedOutage is how long a receiver may be away before its slot gives up, if we have a say.
	wantedOutage = 12 * time.Hour
	// leastOutage is what an operator needs to react at all.
	leastOutage = time.Hour
)

// slotState tells what there is under the name of our slot.
func (f *serverFacts) slotState() []checkResult {
	if !f.slotsKnown {
		return nil
	}
	slot := f.ourSlot()
	drop := fmt.Sprintf("walkeep slot drop --slot %s --apply; receive then makes a new one, records what is missing, and takes a base backup", f.slot)
	switch {
	case slot == nil:
		return []checkResult{passed("slot", f.slot+" isn't there yet; receive creates it")}
	case slot.Type != "physical":
		return []checkResult{failed("slot", f.slot+" is a "+slot.Type+" slot", "choose another name with --slot")}
	case slot.Lost():
		return []checkResult{failed("slot", fmt.Sprintf("%s is invalidated%s: the server keeps no WAL for it", f.slot, because(slot.InvalidationReason)), drop)}
	case slot.WALStatus == "unreserved":
		return []checkResult{failed("slot", f.slot+" will be invalidated at the next checkpoint", "start walkeep receive now")}
	case slot.Active:
		return []checkResult{passed("slot", fmt.Sprintf("%s is in use by %s; a second receiver waits for it", f.slot, f.holder(slot.ActivePID)))}
	case slot.RestartLSN == 0:
		return []checkResult{warned("slot", f.slot+" retains no WAL: it never did, or has been invalidated", drop)}
	}
	detail := fmt.Sprintf("%s retains WAL from %s", f.slot, slot.RestartLSN)
	if f.role != nil {
		detail += ", " + byteSize(float64(slot.Retained))
	}
	return []checkResult{passed("slot", detail+"; nobody uses it")}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// holder names the process that streams from a slot, as well as the role may know.
func (f *serverFacts) holder(pid int) string {
	for _, s := range f.senders {
		if s.PID != pid || s.ApplicationName == "" {
			continue
		}
		from := s.ClientAddr
		if from == "" {
			from = "the same host"
		}
		return fmt.Sprintf("%s from %s (process %d)", s.ApplicationName, from, pid)
	}
	return fmt.Sprintf("process %d", pid)
}

// slotLimit looks at max_slot_wal_keep_size.
func (f *serverFacts) slotLimit() []checkResult {
	text, ok := f.settings["max_slot_wal_keep_size"]
	if !ok {
		return nil
	}
	if text == "-1" {
		return []checkResult{f.unlimitedSlot()}
	}
	limit, err := parseByteSize(text)
	if err != nil {
		return nil
	}
	detail := fmt.Sprintf("max_slot_wal_keep_size = %s", text)
	if !f.rate.known {
		return []checkResult{passed("slot_limit", detail)}
	}
	outage := outageFor(limit, f.rate.worst())
	detail += fmt.Sprintf(": the receiver may be away for %s (%s)", about(outage), f.rate)
	if outage < leastOutage {
		return []checkResult{warned("slot_limit", detail+", then WAL is lost", f.limitFix())}
	}
	return []checkResult{passed("slot_limit", detail)}
}

func (f *serverFacts) unlimitedSlot() checkResult {
	return warned("slot_limit", "max_slot_wal_keep_size is unlimited: while walkeep is away, WAL fills the disk until PostgreSQL stops", f.limitFix())
}

// limitFix sets the limit so that the wanted outage fits, and says how it was reckoned. The disk's size can't be
// seen from here.
func (f *serverFacts) limitFix() string {
	const minimum = 1 << 30
	maxWALSize, err := parseByteSize(f.settings["max_wal_size"])
	if err != nil {
		maxWALSize = minimum
	}
	limit := max(4*maxWALSize, maxWALSize+f.rate.worst()*wantedOutage.Seconds(), minimum)
	reckoned := "4 x max_wal_size " + byteSize(maxWALSize)
	if limit > 4*maxWALSize {
		reckoned = fmt.Sprintf("%.0f h at %s, and max_wal_size %s", wantedOutage.Hours(), f.rate, byteSize(maxWALSize))
	} else if f.rate.known {
		reckoned += fmt.Sprintf(", good for %s at %s", about(outageFor(limit, f.rate.worst())), f.rate)
	}
	return fmt.Sprintf("ALTER SYSTEM SET max_slot_wal_keep_size = '%.0fGB'; SELECT pg_reload_conf(); -- %s; it must be less than what is free on the disk of pg_wal, which can't be seen from here",
		math.Ceil(limit/(1<<30)), reckoned)
}

// slotRoom warns when the slot will be lost within the hour.
func (f *serverFacts) slotRoom() []checkResult {
	slot := f.ourSlot()
	if slot == nil || slot.Lost() || slot.SafeWALSize == nil || !f.rate.known {
		return nil
	}
	left := outageFor(float64(*slot.SafeWALSize), f.rate.worst())
	if left >= leastOutage {
		return nil
	}
	return []checkResult{warned("slot_room", fmt.Sprintf("%s is lost in %s: %s are left of max_slot_wal_keep_size (%s)",
		slot.Name, about(left), byteSize(float64(max(*slot.SafeWALSize, 0))), f.rate), "start walkeep receive now, or: "+f.limitFix())}
}

func (f *serverFacts) idleSlot() []checkResult {
	text := f.settings["idle_replication_slot_timeout"]
	if d, err := replication.ParseDuration(text); err != nil || d == 0 {
		return nil
	}
	return []checkResult{warned("idle_slot", fmt.Sprintf("idle_replication_slot_timeout = %s: a receiver that is away for longer loses its slot, and WAL with it", text),
		"ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();")}
}

// String tells the rate and how it was measured: "1.2 MB/s over 1s, 0.4 MB/s over 3 days".
func (r walRate) String() string {
	if !r.known {
		return "an unknown WAL rate"
	}
	s := ""
	if r.sampledOver > 0 {
		s = fmt.Sprintf("%s/s of WAL over %s just now", byteSize(r.sampled), r.sampledOver.Round(100*time.Millisecond))
	}
	if r.averageOver > 0 {
		if s != "" {
			s += ", "
		}
		s += fmt.Sprintf("%s/s over the last %s", byteSize(r.average), about(r.averageOver))
	}
	return s
}

// outageFor tells how long it takes to write so many bytes.
func outageFor(sizeBytes, bytesPerSecond float64) time.Duration {
	if sizeBytes <= 0 {
		return 0
	}
	seconds := sizeBytes / max(bytesPerSecond, 1)
	return time.Duration(min(seconds, math.MaxInt64/1e9) * 1e9)
}

// about prints a duration with one unit: nobody needs the seconds of a week.
func about(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d >= 365*day:
		return "more than a year"
	case d >= 2*day:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	}
	return fmt.Sprintf("%.0f seconds", d.Seconds())
}

func byteSize(n float64) string { return humanize.IBytes(uint64(max(n, 0))) }

// parseByteSize parses a size as SHOW prints it, in powers of 1024: "0", "8kB", "16MB", "1GB", "2TB".
func parseByteSize(s string) (float64, error) {
	var n uint64
	var unit string
	if _, err := fmt.Sscanf(s+" ", "%d%s", &n, &unit); err != nil && s != "0" {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	units := map[string]float64{"": 1, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
	factor, ok := units[unit]
	if !ok {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return float64(n) * factor, nil
}
