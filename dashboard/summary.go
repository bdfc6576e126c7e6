package dashboard

import "fmt"

// A Level is how a snapshot is to be taken: a colour on the page, never the only sign.
type Level string

// The levels.
const (
	Good Level = "good" // nothing to do
	Warn Level = "warn" // passes by itself, or soon won't
	Bad  Level = "bad"  // unhealthy
)

// A Summary is a snapshot in words, for people.
type Summary struct {
	Level    Level
	Headline string // "Protected up to 0.6 s ago"
	State    string // what the receiver is doing, one sentence
	Problem  string // why it is unhealthy, "" if it isn't
	Advice   string // the consequence and the next step, "" if there is none
}

// Summarize puts a snapshot into words.
func Summarize(s Status) Summary {
	sum := Summary{
		Level:    Good,
		Headline: s.headline(),
		State:    s.stateText(),
		Problem:  s.Health(),
		Advice:   s.advice(),
	}
	switch {
	case sum.Problem != "":
		sum.Level = Bad
	case s.State != Streaming || !s.LagKnown || s.Uploads.Retrying > 0:
		sum.Level = Warn
	}
	return sum
}

func (s Status) headline() string {
	switch {
	case s.State == Fork:
		return "Stopped at a fork"
	case len(s.openGaps()) > 0 || s.State == Gap && len(s.Gaps) == 0:
		return "WAL is missing"
	case s.DurableLSN == "":
		return "Not protected yet"
	case !s.LagKnown && s.LagKnownAt.IsZero():
		return "Protection not known yet"
	default:
		return "Protected up to " + s.storedUntil()
	}
}

// storedUntil says how old the newest moment is of which all WAL is known to be stored. Of a silent server
// that is when it was last heard of, or before.
func (s Status) storedUntil() string {
	switch {
	case s.LagKnown && s.LagBytes == 0:
		return "now"
	case s.LagKnown:
		return formatSeconds(s.LagSeconds) + " ago"
	default:
		return formatSeconds(max(s.LagSeconds, s.since(s.LagKnownAt).Seconds())) + " ago, unknown since"
	}
}

func (s Status) stateText() string {
	switch s.State {
	case Streaming:
		switch {
		case s.Uploads.Retrying > 0:
			return "Streaming, but uploads are being retried."
		case !s.LagKnown:
			return "Streaming, but the server is silent."
		case s.LagBytes == 0:
			return "Streaming. All the server has flushed is stored."
		}
		return "Streaming."
	case Connecting:
		return "Connecting to the server."
	case Waiting:
		return "Waiting: another process holds the replication slot."
	case Throttled:
		return "Waiting for storage: all buffers are full. The stream resumes when half of them are free."
	case Gap:
		return "Streaming behind a gap: new WAL is stored, up to " + s.storedUntil() + "."
	case Fork:
		return "Stopped: the server's WAL contradicts the archive. Nothing was overwritten."
	case Stopped:
		return "Stopped. No WAL is received."
	default:
		return fmt.Sprintf("Unknown state %q.", s.State)
	}
}

func (s Status) advice() string {
	if s.Message != "" {
		return s.Message
	}
	open := s.openGaps()
	if len(open) == 0 {
		return ""
	}
	return fmt.Sprintf("Point-in-time recovery is impossible from %s until the next base backup: take one now.",
		open[0].From)
}
