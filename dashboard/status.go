// Package dashboard shows what a receiver is doing: a page for people, JSON for scripts, metrics for
// Prometheus and one word of health for load balancers.
//
// Its invariant: everything on one answer comes from one snapshot, and what isn't known is never shown as
// good. The package is a leaf: it knows its own Status and asks nobody else.
package dashboard

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Format is the version of the form of Status in JSON. It changes when a field changes its meaning or goes.
const Format = 1

// A State is what the receiver is doing.
type State string

// The states of a receiver.
const (
	Streaming  State = "streaming"  // WAL arrives, or would if there were any
	Connecting State = "connecting" // no stream: looking for a server, or reconciling with one
	Waiting    State = "waiting"    // another process holds the slot
	Throttled  State = "throttled"  // all buffers wait for storage; disconnected until half are free
	Gap        State = "gap"        // WAL was lost; streaming goes on behind it
	Fork       State = "fork"       // the server's WAL contradicts the archive's; nothing is written
	Stopped    State = "stopped"    // the receiver has ended
)

// States are all states, in the order of their declaration.
func States() []State {
	return []State{Streaming, Connecting, Waiting, Throttled, Gap, Fork, Stopped}
}

// A Status is one snapshot of a receiver, and the content of /status.json. Positions are PostgreSQL's text
// form "0/1A2B3C", "" while unknown. It holds no secret.
type Status struct {
	Format     int    `json:"format"` // filled in by the handler
	Time       Time   `json:"time"`   // of the snapshot; filled in by the handler if zero
	State      State  `json:"state"`
	StateSince Time   `json:"state_since"`
	Message    string `json:"message"` // one sentence: the consequence and the next step; "" if nothing is to be said

	Repo     string `json:"repo"` // URL without secrets
	SystemID string `json:"system_id"`
	Timeline int    `json:"timeline"`
	Lineage  string `json:"lineage"`
	Server   Server `json:"server"`

	ServerFlushLSN string `json:"server_flush_lsn"`
	ReceivedLSN    string `json:"received_lsn"`
	DurableLSN     string `json:"durable_lsn"` // the frontier: all WAL before it is in the store
	AckedLSN       string `json:"acked_lsn"`

	// The lag is what a loss of the primary at this moment would cost: the bytes the server has flushed and
	// the store doesn't hold, and the age of the oldest of them. With LagKnown false the server has not been
	// heard of in time, and both are lower bounds.
	LagBytes   int64   `json:"lag_bytes"`
	LagSeconds float64 `json:"lag_seconds"`
	LagKnown   bool    `json:"lag_known"`
	LagKnownAt Time    `json:"lag_known_at"` // when the server was last heard of
	// SilenceLimit is how many seconds without a word from the server are normal: half of wal_sender_timeout.
	// 0 stands for 30.
	SilenceLimit   float64 `json:"silence_limit"`
	CommitsAtRisk  int64   `json:"commits_at_risk"` // received, not yet durable
	LastCommitTime Time    `json:"last_commit_time"`

	// With Synchronous, commits on the server wait for this receiver; with SynchronousOnly, for it alone.
	Synchronous     bool `json:"synchronous"`
	SynchronousOnly bool `json:"synchronous_only"`

	Gaps    []GapRange `json:"gaps"`
	Slot    Slot       `json:"slot"`
	Buffers Buffers    `json:"buffers"`
	Uploads Uploads    `json:"uploads"`

	// Counters since StartedAt.
	WALBytesPerSecond float64 `json:"wal_bytes_per_second"` // that the server writes, of late
	SegmentsUploaded  int64   `json:"segments_uploaded"`
	LinksUploaded     int64   `json:"links_uploaded"`
	BytesReceived     int64   `json:"bytes_received"`
	BytesStored       int64   `json:"bytes_stored"`    // as stored: compressed
	UncheckedBytes    int64   `json:"unchecked_bytes"` // archived without a check of their records
	Reconnects        int64   `json:"reconnects"`

	LastError string `json:"last_error"`
	StartedAt Time   `json:"started_at"`
	Version   string `json:"version"` // of walkeep
}

// A Server is the PostgreSQL server the stream comes from.
type Server struct {
	Host       string `json:"host"`
	Port       int    `json:"port"`
	Version    string `json:"version"`
	InRecovery bool   `json:"in_recovery"`
}

// A GapRange is WAL of one lineage that the archive doesn't hold and can't get any more.
type GapRange struct {
	Lineage      string `json:"lineage"`
	From         string `json:"from"`
	To           string `json:"to"`
	Kind         string `json:"kind"` // lost, damaged or ancestry
	Reason       string `json:"reason"`
	DetectedAt   Time   `json:"detected_at"`
	Acknowledged bool   `json:"acknowledged"` // an operator knows of it: no reason to be unhealthy any more
}

// A Slot is the replication slot as the server last showed it.
type Slot struct {
	Name          string   `json:"name"`
	Active        bool     `json:"active"`
	RestartLSN    string   `json:"restart_lsn"`
	WALStatus     string   `json:"wal_status"`
	SafeSeconds   *float64 `json:"safe_seconds"`   // until the slot is in danger at the present WAL rate; nil: unlimited or unknown
	SafeWALSize   *int64   `json:"safe_wal_size"`  // bytes until the slot is in danger; nil: unlimited or unknown
	RetainedBytes int64    `json:"retained_bytes"` // WAL the server keeps for the slot
}

// Buffers are the raw segment buffers, allocated once at the start.
type Buffers struct {
	Total int `json:"total"`
	Free  int `json:"free"`
}

// Uploads are the writes to the store under way.
type Uploads struct {
	InFlight      int    `json:"in_flight"`
	BytesInFlight int64  `json:"bytes_in_flight"`
	Retrying      int    `json:"retrying"`      // calls that failed and are tried again
	Retries       int64  `json:"retries"`       // since the start
	StalledSince  Time   `json:"stalled_since"` // when the one failing for longest first failed; else null
	LastError     string `json:"last_error"`
	LastErrorTime Time   `json:"last_error_time"`
}

// A Time is a moment, in JSON as RFC 3339 in UTC with microseconds; the zero Time is null.
type Time struct{ time.Time }

// At returns t as a Time.
func At(t time.Time) Time { return Time{Time: t} }

const timeLayout = `"2006-01-02T15:04:05.000000Z"`

// MarshalJSON writes null for the zero Time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return t.UTC().AppendFormat(nil, timeLayout), nil
}

// UnmarshalJSON reads what MarshalJSON writes, and any other RFC 3339.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	return t.Time.UnmarshalJSON(b)
}

// parseLSN returns the position as a number; ok is false for "" and PostgreSQL's invalid position 0/0.
func parseLSN(s string) (lsn uint64, ok bool) {
	high, low, _ := strings.Cut(s, "/")
	h, errHigh := strconv.ParseUint(high, 16, 32)
	l, errLow := strconv.ParseUint(low, 16, 32)
	lsn = h<<32 | l
	return lsn, errHigh == nil && errLow == nil && lsn != 0
}

// Address returns host and port for display: "db1:5432", or the directory of a Unix socket.
func (s Server) Address() string {
	switch {
	case s.Host == "":
		return ""
	case strings.HasPrefix(s.Host, "/"):
		return s.Host
	case strings.Contains(s.Host, ":"):
		return fmt.Sprintf("[%s]:%d", s.Host, s.Port)
	default:
		return fmt.Sprintf("%s:%d", s.Host, s.Port)
	}
}
