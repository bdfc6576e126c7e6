package replication

import (
	"sync"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/uploader"
)

// State is what a Receiver is doing.
type State string

// The states of a Receiver.
const (
	StateConnecting State = "connecting"
	StateStreaming  State = "streaming"
	StateWaiting    State = "waiting"   // somebody else holds the slot
	StateThrottled  State = "throttled" // all buffers wait for storage
	StateFork       State = "fork"
	StateStopped    State = "stopped"
)

// Status is a snapshot of a Receiver.
type Status struct {
	State   State
	Since   time.Time // of the state
	Message string    // the consequence and the next step, for a person

	SystemID uint64 // 0 until known, like everything below
	Lineage  segment.Lineage
	Host     Host
	Version  int // server_version_num
	Standby  bool

	ServerFlush, Received, Durable, Acked segment.LSN
	Heard                                 time.Time     // when the server was last heard of
	SenderTimeout                         time.Duration // the server's wal_sender_timeout
	OldestAtRisk                          time.Time     // when the oldest byte that is not durable was received; zero if there is none
	CommitsAtRisk                         uint64
	LastCommit                            time.Time
	UncheckedBytes                        uint64
	BytesReceived                         int64
	Reconnects                            int64
	LastError                             string
	Started                               time.Time

	WALRate                      float64 // bytes a second that the server writes, of late; 0 while unknown
	Synchronous, SynchronousOnly bool
	Gaps                         []catalog.OpenGap
	Rivals                       []segment.Lineage // archived histories of the same timeline number: one must be abandoned
	Slot                         SlotInfo          // zero until seen over an ordinary connection
	SlotSeen                     bool
	Uploads                      uploader.Stats
}

// receiverState is what Status is made of.
type receiverState struct {
	mu        sync.Mutex
	started   time.Time
	status    Status // all that is not asked of the stream
	stream    *Stream
	mark      *uploader.Watermark // of the running stream or, while there is none, of the last one
	uploads   *uploader.Uploader
	catalog   *catalog.Catalog
	attached  chan struct{} // a stream has begun; capacity 1
	bytes     int64         // of streams that have ended
	unchecked uint64
	rateAt    time.Time
	rateFrom  segment.LSN
	ends      series // belongs to the running stream, if there is one
}

// set changes the state; it reports whether it was another one before.
func (s *receiverState) set(state State, message string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = s.status.State != state
	if s.status.State == StateFork && state == StateStopped {
		return false // why it stopped matters more than that it did
	}
	if changed {
		s.status.Since = time.Now()
	}
	s.status.State, s.status.Message = state, message
	return changed
}

func (s *receiverState) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.LastError = err.Error()
	s.status.Reconnects++
}

func (s *receiverState) opened(c *catalog.Catalog, u *uploader.Uploader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.SystemID, s.uploads, s.catalog = c.SystemID(), u, c
}

func (s *receiverState) connected(conn *Conn, sys System, l segment.Lineage, standby bool, o StreamOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends.add(sys.Flush, time.Now(), 0)
	s.status.Lineage, s.status.Host, s.status.Version, s.status.Standby = l, conn.Host(), conn.ServerVersion(), standby
	s.status.ServerFlush, s.status.Heard = sys.Flush, time.Now()
	s.status.SenderTimeout, s.status.Synchronous, s.status.SynchronousOnly = o.SenderTimeout, o.Synchronous, o.SynchronousOnly
}

func (s *receiverState) attach(stream *Stream) {
	s.set(StateStreaming, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream, s.mark = stream, stream.mark
	select {
	case s.attached <- struct{}{}:
	default:
	}
}

// detach keeps the last positions of a stream that has ended.
func (s *receiverState) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == nil {
		return
	}
	s.fill(&s.status)
	s.bytes, s.unchecked = s.status.BytesReceived, s.status.UncheckedBytes
	s.stream = nil
	if s.status.State == StateStreaming {
		s.status.State, s.status.Since = StateConnecting, time.Now()
	}
}

// measureRate follows how fast the server's flush position moves.
func (s *receiverState) measureRate(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	s.fill(&status)
	if !s.rateAt.IsZero() && now.Sub(s.rateAt) > time.Second && status.ServerFlush >= s.rateFrom {
		rate := float64(status.ServerFlush-s.rateFrom) / now.Sub(s.rateAt).Seconds()
		if s.status.WALRate != 0 {
			rate = (rate + 3*s.status.WALRate) / 4
		}
		s.status.WALRate = rate
	}
	s.rateAt, s.rateFrom = now, status.ServerFlush
}

func (s *receiverState) setRivals(rivals []segment.Lineage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Rivals = rivals
}

func (s *receiverState) rivals() []segment.Lineage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Rivals
}

func (s *receiverState) dropRival(l segment.Lineage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rest []segment.Lineage // a snapshot may hold the old slice
	for _, r := range s.status.Rivals {
		if r != l {
			rest = append(rest, r)
		}
	}
	s.status.Rivals = rest
}

func (s *receiverState) setGaps(gaps []catalog.OpenGap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Gaps = gaps
}

func (s *receiverState) addGap(g catalog.Gap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Gaps = append(s.status.Gaps[:len(s.status.Gaps):len(s.status.Gaps)], catalog.OpenGap{Gap: g})
}

func (s *receiverState) setSlot(info SlotInfo, seen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Slot, s.status.SlotSeen = info, seen
}

// fill asks the running stream for its positions. Called with mu held.
func (s *receiverState) fill(status *Status) {
	if s.mark == nil {
		return
	}
	durable := s.mark.LSN() // segments go on becoming durable when the stream has ended
	status.Durable = durable
	if s.stream == nil {
		return
	}
	status.CommitsAtRisk, status.OldestAtRisk = s.stream.progress.atRisk(durable)
	p := s.stream.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	status.Received, status.Acked = p.r, p.acked
	status.ServerFlush = max(p.serverEnd, p.r)
	status.Heard = p.heardAt
	status.BytesReceived = s.bytes + p.bytes
	status.UncheckedBytes = s.unchecked + p.uncheckedPart
	if !p.lastCommit.IsZero() {
		status.LastCommit = p.lastCommit
	}
}

// Status returns a snapshot.
func (r *Receiver) Status() Status {
	s := &r.state
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	status.Started = s.started
	s.fill(&status)
	if s.uploads != nil {
		status.Uploads = s.uploads.Stats()
	}
	return status
}
