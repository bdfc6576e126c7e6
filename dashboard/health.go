package dashboard

import (
	"fmt"
	"time"
)

// Limits of patience: how long a state that may pass by itself counts as healthy.
const (
	connectingLimit = 60 * time.Second // even if the server was heard of within its silence limit
	waitingLimit    = 60 * time.Second
	stalledLimit    = 60 * time.Second
	silenceLimit    = 30 * time.Second // where Status.SilenceLimit isn't given
)

// Health judges a snapshot. It returns "" while the cluster is protected or a passing trouble is young, else
// the reason in words, the gravest first. Ages are taken against s.Time, so that no other clock matters.
func (s Status) Health() string {
	switch s.State {
	case Stopped:
		return "the receiver has stopped: no WAL is being archived"
	case Fork:
		if s.Message != "" {
			return "fork: " + s.Message
		}
		return "fork: the server's WAL contradicts the archive, nothing is being archived"
	case Streaming, Connecting, Waiting, Throttled, Gap:
	default:
		return fmt.Sprintf("unknown state %q", s.State)
	}
	if open := s.openGaps(); len(open) > 0 {
		g := open[0]
		return fmt.Sprintf("WAL from %s to %s is missing (%s)", g.From, g.To, g.Kind)
	}
	if s.State == Gap && len(s.Gaps) == 0 {
		return "WAL is missing"
	}
	return s.impatience()
}

// impatience returns the first trouble that has lasted too long, or "".
func (s Status) impatience() string {
	inState, silent := s.since(s.StateSince), s.since(s.LagKnownAt)
	deaf := !s.LagKnown && silent >= s.silence()
	switch {
	case s.State == Waiting:
		// Nothing is heard of the server on purpose: that the lag is unknown is no trouble of its own.
		if inState > waitingLimit {
			return fmt.Sprintf("another process has held slot %s for %s, this receiver archives nothing",
				s.Slot.Name, formatDuration(inState))
		}
		return ""
	case !s.Uploads.StalledSince.IsZero() && s.since(s.Uploads.StalledSince) > stalledLimit:
		return fmt.Sprintf("storage has not taken an upload for %s: %s",
			formatDuration(s.since(s.Uploads.StalledSince)), orUnknown(s.Uploads.LastError))
	case s.State == Connecting && (deaf || inState > connectingLimit):
		// deaf counts here too: a server that went silent must not turn green again when we hang up.
		return fmt.Sprintf("no connection to the server for %s: %s",
			formatDuration(max(inState, silent)), orUnknown(s.LastError))
	case s.slotInDanger():
		return fmt.Sprintf("the slot reaches max_slot_wal_keep_size in %s at the present WAL rate, and then WAL is lost: "+
			"raise it, or mend what keeps WAL from being stored", formatSeconds(*s.Slot.SafeSeconds))
	case deaf:
		return fmt.Sprintf("the server has not been heard of for %s, the lag is unknown", formatDuration(silent))
	}
	return ""
}

// Room in the slot counts when WAL gathers in it: a limit below an hour's WAL is no trouble by itself.
const (
	slotRoomSeconds = 3600
	slotGathers     = 64 << 20
)

func (s Status) slotInDanger() bool {
	gathers := s.State != Streaming || s.LagBytes > slotGathers
	return s.Slot.SafeSeconds != nil && *s.Slot.SafeSeconds < slotRoomSeconds && gathers
}

// since returns how long ago t was at the time of the snapshot. What was never set counts from the start.
func (s Status) since(t Time) time.Duration {
	if t.IsZero() {
		t = s.StartedAt
	}
	return s.Time.Sub(t.Time)
}

func (s Status) silence() time.Duration {
	if s.SilenceLimit <= 0 {
		return silenceLimit
	}
	return time.Duration(s.SilenceLimit * float64(time.Second))
}

// openGaps returns the gaps that nobody has acknowledged.
func (s Status) openGaps() []GapRange {
	var open []GapRange
	for _, g := range s.Gaps {
		if !g.Acknowledged {
			open = append(open, g)
		}
	}
	return open
}

func orUnknown(reason string) string {
	if reason == "" {
		return "reason unknown"
	}
	return reason
}
