package walkeep

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"walkeep/integration/poll"
	"walkeep/segment"
)

// Status is what /status.json promises its readers. Positions are "" while unknown.
type Status struct {
	State          string            `json:"state"`
	Message        string            `json:"message"`
	SystemID       string            `json:"system_id"`
	Timeline       int               `json:"timeline"`
	Lineage        string            `json:"lineage"`
	ServerFlushLSN string            `json:"server_flush_lsn"`
	ReceivedLSN    string            `json:"received_lsn"`
	DurableLSN     string            `json:"durable_lsn"`
	AckedLSN       string            `json:"acked_lsn"`
	LagBytes       int64             `json:"lag_bytes"`
	LagSeconds     float64           `json:"lag_seconds"`
	LagKnown       bool              `json:"lag_known"`
	CommitsAtRisk  int64             `json:"commits_at_risk"`
	LastCommitTime string            `json:"last_commit_time"`
	UncheckedBytes int64             `json:"unchecked_bytes"`
	Gaps           []json.RawMessage `json:"gaps"`
	Slot           json.RawMessage   `json:"slot"`
	LastError      string            `json:"last_error"`
	Reconnects     int64             `json:"reconnects"`
	Raw            json.RawMessage   `json:"-"` // the whole answer
}

// Durable is DurableLSN as a position; 0 while unknown.
func (s Status) Durable() segment.LSN { return position(s.DurableLSN) }

// Acked is AckedLSN as a position; 0 while unknown.
func (s Status) Acked() segment.LSN { return position(s.AckedLSN) }

// Received is ReceivedLSN as a position; 0 while unknown.
func (s Status) Received() segment.LSN { return position(s.ReceivedLSN) }

func position(text string) segment.LSN {
	lsn, err := segment.ParseLSN(text)
	if err != nil {
		return 0
	}
	return lsn
}

// client keeps no connection, so that no goroutine of ours outlives a test.
var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Status asks the receiver for its status.
func (r *Receiver) Status(ctx context.Context) (Status, error) {
	var s Status
	code, body, err := r.Get(ctx, "/status.json")
	if err != nil {
		return s, err
	}
	if code != http.StatusOK {
		return s, fmt.Errorf("/status.json: HTTP status %d: %s", code, body)
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("/status.json: %w in %s", err, body)
	}
	s.Raw = body
	return s, nil
}

// WaitStatus waits until the receiver's status is as wanted, and returns that one. It gives up when the receiver
// has exited or ctx ends; the error shows the last status seen.
func (r *Receiver) WaitStatus(ctx context.Context, what string, wanted func(Status) bool) (Status, error) {
	var last Status
	err := poll.Until(ctx, what, func(ctx context.Context) (bool, error) {
		select {
		case <-r.exited:
			return false, fmt.Errorf("the receiver has exited: %s", r.cmd.ProcessState)
		default:
		}
		s, err := r.Status(ctx)
		if err != nil {
			return false, nil // it may not listen yet
		}
		last = s
		return wanted(s), nil
	})
	if err != nil {
		err = fmt.Errorf("%w; last status: %s", err, last.Raw)
	}
	return last, err
}

// WaitDurable waits until everything before lsn is in the store, as far as the receiver says.
func (r *Receiver) WaitDurable(ctx context.Context, lsn segment.LSN) error {
	_, err := r.WaitStatus(ctx, fmt.Sprintf("durable_lsn %s", lsn), func(s Status) bool { return s.Durable() >= lsn })
	return err
}

// WaitState waits for a value of state: "streaming", "gap", "fork" ...
func (r *Receiver) WaitState(ctx context.Context, state string) (Status, error) {
	return r.WaitStatus(ctx, "state "+state, func(s Status) bool { return s.State == state })
}
