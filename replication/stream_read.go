package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walkeep/segment"
	"walkeep/uploader"
)

// read is the only reader of the socket. It returns why the stream ended.
func (s *Stream) read(ctx context.Context) error {
	assembler, err := segment.NewAssembler(s.size, s.start)
	if err != nil {
		return err
	}
	for {
		e, err := s.wire.next()
		if err != nil {
			return s.readError(ctx, err)
		}
		switch e.kind {
		case eventData:
			if err := s.data(ctx, assembler, e); err != nil {
				return s.readError(ctx, err)
			}
		case eventKeepalive:
			s.keepalive(assembler.Next(), e)
		case eventCopyDone:
			return s.endOfTimeline(ctx, assembler.Next())
		case eventTerminated:
			return errServerStopped
		default:
			return fmt.Errorf("server left the stream (message %d)", e.kind)
		}
	}
}

// readError keeps the error of a socket that we closed ourselves from hiding why.
func (s *Stream) readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var order *segment.OrderError
	if errors.As(err, &order) || errors.Is(err, errThrottled) {
		return err
	}
	return fmt.Errorf("read stream: %w", err)
}

// data places the payload of one message.
func (s *Stream) data(ctx context.Context, a *segment.Assembler, e event) error {
	if err := a.Message(e.start, e.length); err != nil {
		return err
	}
	for left := e.length; left > 0; {
		if a.Room() == nil {
			buf, err := s.buffer(ctx)
			if err != nil {
				return err
			}
			s.reading = buf
			a.Begin(buf.Bytes)
		}
		buf, at := s.reading, a.Next()
		room := a.Room()
		room = room[:min(len(room), left)]
		if err := s.wire.payload(room); err != nil {
			return err
		}
		left -= len(room)
		from := s.size.Offset(at)
		if a.Advance(len(room)) {
			s.reading = nil
		}
		s.progress.heard(a.Next(), e.end, time.Now())
		s.progress.count(len(room))
		c := chunk{buf: buf, name: segment.NameAt(s.timeline, at, s.size), from: from, to: from + len(room)}
		select {
		case s.chunks <- c:
		case <-ctx.Done():
			if s.reading == nil {
				buf.Release() // the segment was full, and nobody else knows of it
			}
			return ctx.Err()
		}
	}
	return nil
}

// buffer waits for a free segment buffer, but not for long: a server that shuts down waits for us to read.
func (s *Stream) buffer(ctx context.Context) (*uploader.Buffer, error) {
	wait, cancel := context.WithTimeout(ctx, s.options.ThrottleWait)
	defer cancel()
	buf, err := s.uploader.Buffer(wait)
	if err != nil && ctx.Err() == nil {
		return nil, errThrottled
	}
	return buf, err
}

// keepalive notes the server's position, and a demand for an answer.
func (s *Stream) keepalive(received segment.LSN, e event) {
	now := time.Now()
	s.progress.heard(received, e.end, now)
	if !e.reply {
		return
	}
	if e.end == received {
		s.window.demand(received)
	}
	s.progress.demand(e.end == received, s.options.SenderTimeout, now)
}

// endOfTimeline answers the server's CopyDone and reads which timeline goes on where.
func (s *Stream) endOfTimeline(ctx context.Context, received segment.LSN) error {
	wait, cancel := context.WithTimeout(ctx, s.options.ReleaseAfter)
	defer cancel()
	s.settle(wait, received)
	s.progress.leave(ctx)
	if err := s.wire.conn.SetReadDeadline(time.Now().Add(silence(s.options.SenderTimeout))); err != nil { // report no longer watches
		return err
	}
	var end *TimelineEnd
	for {
		e, err := s.wire.next()
		if err != nil {
			return fmt.Errorf("read end of timeline: %w", err)
		}
		switch e.kind {
		case eventSwitch:
			end = &TimelineEnd{Next: e.next, Start: e.nextStart}
		case eventReady:
			if end == nil {
				return errors.New("server ended the stream without naming the next timeline")
			}
			if end.Start > received {
				return fmt.Errorf("server says that timeline %d begins at %s, but sent the old one only up to %s", end.Next, end.Start, received)
			}
			return end
		}
	}
}
