package replication

import (
	"context"
	"sync"
	"time"

	"walkeep/segment"
)

// progress is what the goroutines of one stream tell each other, and the world, about positions. Its mutex guards
// everything but the channels.
type progress struct {
	wake    chan struct{} // report has something to do; capacity 1
	leaving chan struct{} // closed: report is to send the last status and CopyDone
	left    chan struct{} // closed: it has

	mu             sync.Mutex
	r              segment.LSN // received: next byte expected
	serverEnd      segment.LSN // the server's flush position as last heard
	heardAt        time.Time
	bytes          int64
	uncheckedPart  uint64    // bytes archived without a reader
	commits        uint64    // checked since the stream began
	commitsChecked uint64    // up to the newest arrival
	arrivals       series    // of checked WAL that is not yet durable
	ends           *series   // of the server's flush positions
	lastCommit     time.Time // by the server's clock
	acked          segment.LSN
	sentAt         time.Time // of the last status
	demanded       bool      // the server waits for an answer
	holdSince      time.Time // since when a server that shuts down has waited; zero if it doesn't
	leaveOnce      sync.Once
}

// newProgress begins at start. ends says when the server's flush position was where; it outlives the stream.
func newProgress(start segment.LSN, ends *series) *progress {
	return &progress{
		wake: make(chan struct{}, 1), leaving: make(chan struct{}), left: make(chan struct{}), r: start, ends: ends,
	}
}

// heard notes a message of the server.
func (p *progress) heard(received, serverEnd segment.LSN, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.r, p.serverEnd, p.heardAt = received, max(p.serverEnd, serverEnd), at
	p.ends.add(p.serverEnd, at, 0)
}

// count adds received bytes.
func (p *progress) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(n)
}

func (p *progress) received() segment.LSN {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.r
}

// behind is how many bytes the server has flushed that we have not received.
func (p *progress) behind() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, int64(p.serverEnd)-int64(p.r))
}

// commit counts a commit record, made at a time by the server's clock.
func (p *progress) commit(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commits++
	if !at.IsZero() {
		p.lastCommit = at
	}
}

// commitsSoFar is how many commits were checked since the stream began.
func (p *progress) commitsSoFar() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commits
}

func (p *progress) unchecked(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uncheckedPart += n
}

// checked notes that everything before lsn has been checked.
func (p *progress) checked(lsn segment.LSN, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.arrivals.add(lsn, at, p.commitsChecked)
	p.commitsChecked = p.commits
}

// since returns when the byte at pos was checked, and when the server was first heard to have flushed it, by this stream or one
// before; ok is false if it isn't checked yet.
func (p *progress) since(pos segment.LSN) (checked, flushed time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.arrivals.behind(pos)
	checked, flushed = m.at, m.at
	if m, ok := p.ends.behind(pos); ok && m.at.Before(flushed) {
		flushed = m.at
	}
	return checked, flushed, ok
}

// atRisk returns how many commits are checked and not durable, and when we first heard of the oldest byte that is not
// durable; zero if all that we know of is.
func (p *progress) atRisk(durable segment.LSN) (commits uint64, oldest time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m, ok := p.arrivals.behind(durable); ok {
		commits = p.commitsChecked - m.commits
	}
	m, _ := p.ends.behind(durable)
	return commits, m.at
}

// demand notes that the server waits for an answer. A server that asks for one at the exact position and soon after our
// last status is shutting down: others ask only when they have not heard of us for half of wal_sender_timeout
// (walsender.c: WalSndKeepaliveIfNecessary, WalSndDone).
func (p *progress) demand(exact bool, senderTimeout time.Duration, now time.Time) {
	p.mu.Lock()
	soon := senderTimeout == 0 || now.Sub(p.sentAt) < senderTimeout/4
	if exact && soon && p.holdSince.IsZero() {
		p.holdSince = now
	}
	p.demanded = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// leave lets report send the last status and CopyDone, and waits until it has.
func (p *progress) leave(ctx context.Context) {
	p.leaveOnce.Do(func() { close(p.leaving) })
	select {
	case <-p.left:
	case <-ctx.Done():
	}
}
