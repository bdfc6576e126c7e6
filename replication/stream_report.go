package replication

import (
	"context"
	"fmt"
	"time"

	"walkeep/segment"
)

// A status is sent at least every statusInterval, and at most once per statusSpacing when positions move.
const (
	maxStatusInterval = 10 * time.Second
	statusSpacing     = time.Millisecond
	holdSpacing       = time.Second // between answers to a server that shuts down and has to wait
	defaultSilence    = 60 * time.Second
	writeTimeout      = 20 * time.Second
)

func statusInterval(senderTimeout time.Duration) time.Duration {
	if senderTimeout == 0 {
		return maxStatusInterval
	}
	return min(maxStatusInterval, senderTimeout/6)
}

// silence is how long the server may be silent, though asked, before the connection counts as dead.
func silence(senderTimeout time.Duration) time.Duration {
	if senderTimeout == 0 {
		return defaultSilence
	}
	return senderTimeout
}

// report is the only writer of the socket. Every status, the first included, acknowledges min(durable, received) and
// nothing else, as flush and as apply; write is what was received.
func (s *Stream) report(ctx context.Context) error {
	interval := statusInterval(s.options.SenderTimeout)
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		moved := s.mark.Moved()
		next, err := s.sendDue(time.Now(), interval)
		if err != nil {
			return err
		}
		timer.Reset(time.Until(next))
		select {
		case <-timer.C:
		case <-s.progress.wake:
		case <-moved:
			s.pace(ctx)
		case <-s.progress.leaving:
			return s.lastStatus()
		case <-ctx.Done():
			return nil
		}
	}
}

// pace keeps statuses that follow each other at once from being more than one per statusSpacing; one that comes after a
// while is not delayed, for commits may wait for it.
func (s *Stream) pace(ctx context.Context) {
	s.progress.mu.Lock()
	wait := statusSpacing - time.Since(s.progress.sentAt)
	s.progress.mu.Unlock()
	if wait <= 0 {
		return
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

// sendDue sends a status if one is due, and returns when the next one is.
func (s *Stream) sendDue(now time.Time, interval time.Duration) (next time.Time, err error) {
	p, durable := s.progress, s.mark.LSN()
	p.mu.Lock()
	ack := max(min(durable, p.r), p.acked)
	p.arrivals.drop(durable)
	p.ends.drop(durable)
	exact := durable >= p.r
	if exact {
		p.holdSince = time.Time{}
	}
	holding := !p.holdSince.IsZero()
	release := holding && now.Sub(p.holdSince) >= s.options.ReleaseAfter
	due := p.sentAt.IsZero() || ack > p.acked || now.Sub(p.sentAt) >= interval ||
		p.demanded && (!holding || now.Sub(p.sentAt) >= holdSpacing)
	if !due {
		next = p.sentAt.Add(interval)
		if p.demanded {
			next = p.sentAt.Add(holdSpacing)
		}
		p.mu.Unlock()
		return next, nil
	}
	quiet := now.Sub(p.heardAt)
	received := p.r
	p.demanded, p.sentAt = false, now
	p.acked = ack
	p.mu.Unlock()

	if quiet > silence(s.options.SenderTimeout) {
		return now, errSilent
	}
	if release {
		s.log.Warn("letting the server shut down before its last WAL is durable: storage has not answered in time; "+
			"the server's disk and the slot keep it", "durable", durable.String(), "received", received.String())
		return now.Add(interval), s.send(received, 0, 0, noReply)
	}
	reply := noReply
	if quiet >= interval/2 {
		reply = wantReply
	}
	return now.Add(interval), s.send(received, ack, ack, reply)
}

func (s *Stream) send(write, flush, apply segment.LSN, reply requestReply) error {
	if err := s.wire.sendStatus(write, flush, apply, reply, writeTimeout); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	return nil
}

// lastStatus acknowledges once more and ends the stream from our side.
func (s *Stream) lastStatus() error {
	p, durable := s.progress, s.mark.LSN()
	p.mu.Lock()
	ack, received := max(min(durable, p.r), p.acked), p.r
	p.acked = ack
	p.mu.Unlock()
	err := s.send(received, ack, ack, noReply)
	if err == nil {
		err = s.wire.sendCopyDone(writeTimeout)
	}
	close(p.left)
	return err
}
