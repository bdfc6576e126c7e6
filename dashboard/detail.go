package dashboard

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
)

// Row is one line of details: a name and its value in words.
type Row struct{ Name, Value string }

// Section is a titled group of rows.
type Section struct {
	Title string
	Rows  []Row
}

// CountersTitle is the title of the section with the counters, of less interest than the others.
const CountersTitle = "Since start"

// Details returns what a person may want to know beyond the summary. What has no value is left out.
func Details(s Status) []Section {
	sections := []Section{
		{"Lag", []Row{
			{"not yet stored", s.lagText()},
			{"commits at risk", humanize.Comma(s.CommitsAtRisk)},
			{"last commit", s.ago(s.LastCommitTime)},
			{"durability", s.synchronousText()},
		}},
		{"Positions", []Row{
			{"flushed by server", s.ServerFlushLSN},
			{"received", s.ReceivedLSN},
			{"stored", s.DurableLSN},
			{"acknowledged", s.AckedLSN},
		}},
		{"Server", []Row{
			{"address", s.Server.Address()},
			{"PostgreSQL", s.serverText()},
			{"system ID", s.SystemID},
			{"timeline", s.timelineText()},
			{"slot", s.slotText()},
			{"slot keeps", s.retainedText()},
			{"room left", s.roomText()},
		}},
		{"Storage", []Row{
			{"repository", s.Repo},
			{"uploads", s.uploadsText()},
			{"last error", s.uploadErrorText()},
			{"buffers free", fmt.Sprintf("%d of %d", s.Buffers.Free, s.Buffers.Total)},
		}},
		{CountersTitle, []Row{
			{"started", s.ago(s.StartedAt)},
			{"received", formatBytes(s.BytesReceived)},
			{"stored", formatBytes(s.BytesStored)},
			{"objects", fmt.Sprintf("%s segments, %s tail links",
				humanize.Comma(s.SegmentsUploaded), humanize.Comma(s.LinksUploaded))},
			{"unchecked", formatBytes(s.UncheckedBytes)},
			{"reconnects", humanize.Comma(s.Reconnects)},
			{"last error", s.LastError},
			{"walkeep", s.Version},
		}},
	}
	kept := sections[:0]
	for _, section := range sections {
		section.Rows = withValue(section.Rows)
		if len(section.Rows) > 0 {
			kept = append(kept, section)
		}
	}
	return kept
}

func withValue(rows []Row) []Row {
	kept := rows[:0]
	for _, r := range rows {
		if r.Value != "" {
			kept = append(kept, r)
		}
	}
	return kept
}

func (s Status) lagText() string {
	if s.DurableLSN == "" && !s.LagKnown {
		return "unknown"
	}
	text := formatBytes(s.LagBytes)
	if s.LagBytes > 0 {
		text += ", oldest " + formatSeconds(s.LagSeconds)
	}
	if !s.LagKnown {
		text = "at least " + text
	}
	return text
}

func (s Status) synchronousText() string {
	switch {
	case s.SynchronousOnly:
		return "synchronous, and the only standby: commits wait while storage is down"
	case s.Synchronous:
		return "synchronous: commits wait until they are stored"
	default:
		return "asynchronous"
	}
}

func (s Status) serverText() string {
	if s.Server.Version != "" && s.Server.InRecovery {
		return s.Server.Version + ", a standby"
	}
	return s.Server.Version
}

func (s Status) timelineText() string {
	if s.Timeline == 0 {
		return ""
	}
	if s.Lineage == "" {
		return fmt.Sprint(s.Timeline)
	}
	return fmt.Sprintf("%d (%s)", s.Timeline, s.Lineage)
}

func (s Status) slotText() string {
	parts := []string{s.Slot.Name}
	if s.Slot.Active {
		parts = append(parts, "active")
	} else {
		parts = append(parts, "inactive")
	}
	if s.Slot.WALStatus != "" {
		parts = append(parts, "WAL "+s.Slot.WALStatus)
	}
	return strings.Join(parts, ", ")
}

func (s Status) retainedText() string {
	if s.Slot.RestartLSN == "" {
		return ""
	}
	return formatBytes(s.Slot.RetainedBytes) + " from " + s.Slot.RestartLSN
}

func (s Status) roomText() string {
	if s.Slot.SafeWALSize == nil {
		return ""
	}
	return formatBytes(*s.Slot.SafeWALSize) + " of WAL until the slot is in danger"
}

func (s Status) uploadsText() string {
	text := "none under way"
	if s.Uploads.InFlight > 0 {
		text = fmt.Sprintf("%d under way, %s", s.Uploads.InFlight, formatBytes(s.Uploads.BytesInFlight))
	}
	if s.Uploads.Retrying > 0 {
		text += fmt.Sprintf(", %d being retried", s.Uploads.Retrying)
	}
	return text
}

func (s Status) uploadErrorText() string {
	if s.Uploads.LastError == "" || s.Uploads.LastErrorTime.IsZero() {
		return s.Uploads.LastError
	}
	return s.Uploads.LastError + " (" + formatDuration(s.since(s.Uploads.LastErrorTime)) + " ago)"
}

// ago says when t was, in UTC and as seen from the snapshot.
func (s Status) ago(t Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format("2006-01-02 15:04:05 UTC"), formatDuration(s.Time.Sub(t.Time)))
}
