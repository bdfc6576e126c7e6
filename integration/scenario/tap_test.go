package scenario_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"

	"walkeep/segment"
)

// A status is a standby status update on its way from the receiver to the server (walsender.c:
// ProcessStandbyReplyMessage).
type status struct {
	Write, Flush, Apply segment.LSN
	Start               segment.LSN // of the START_REPLICATION it belongs to
	First               bool        // of that
}

// A tap lets every byte between receiver and server pass, and shows each status to look, before the server gets it.
type tap struct {
	addr     string
	listener net.Listener
	target   string
	look     func(status)
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// newTap listens in front of the server until the test ends. look is called by several goroutines.
func newTap(t testing.TB, target string, look func(status)) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &tap{addr: l.Addr().String(), listener: l, target: target, look: look, conns: map[net.Conn]struct{}{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *tap) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.running.Go(func() {
			defer p.end(client, server)
			_, _ = io.Copy(client, server)
		})
		p.running.Go(func() {
			defer p.end(client, server)
			_ = p.follow(bufio.NewReader(client), server)
		})
	}
}

func (p *tap) end(a, b net.Conn) {
	_, _ = a.Close(), b.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, a)
	delete(p.conns, b)
}

var startCommand = regexp.MustCompile(`^START_REPLICATION .*PHYSICAL ([0-9A-F]+/[0-9A-F]+)`)

// follow passes the client's messages on: a start packet without a type, then typed ones.
func (p *tap) follow(from *bufio.Reader, to io.Writer) error {
	var s status
	for head := 0; ; head = 1 {
		message, err := readMessage(from, head)
		if err != nil {
			return err
		}
		body := message[head+4:]
		switch {
		case head == 1 && message[0] == 'Q':
			if m := startCommand.FindSubmatch(body); m != nil {
				if s.Start, err = segment.ParseLSN(string(m[1])); err != nil {
					return err
				}
				s.First = true
			}
		case head == 1 && message[0] == 'd' && len(body) == 34 && body[0] == 'r':
			be := binary.BigEndian
			s.Write, s.Flush, s.Apply = segment.LSN(be.Uint64(body[1:])), segment.LSN(be.Uint64(body[9:])), segment.LSN(be.Uint64(body[17:]))
			p.look(s)
			s.First = false
		}
		if _, err := to.Write(message); err != nil {
			return err
		}
	}
}

// readMessage reads head bytes of type, a length that counts itself, and what it counts.
func readMessage(r io.Reader, head int) ([]byte, error) {
	message := make([]byte, head+4)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(message[head:])) - 4
	if n < 0 || n > 1<<20 {
		return nil, fmt.Errorf("message of %d bytes", n)
	}
	message = append(message, make([]byte, n)...)
	_, err := io.ReadFull(r, message[head+4:])
	return message, err
}
