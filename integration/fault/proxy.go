// Package fault stands between a client and a server, of any TCP protocol, and makes the network between them
// slow, silent or broken.
//
// Its invariant: bytes are delayed, withheld or lost with their connection, never changed, reordered or dropped
// from the middle of a stream. What TCP can't do, the proxy doesn't.
package fault

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"walkeep/integration/port"
)

// A Direction is one of the two streams of a connection.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// A Proxy forwards connections made to Addr to its target, with the faults that are set. Faults count for
// connections that exist as well as for new ones. Methods are safe for concurrent use.
type Proxy struct {
	addr string
	wg   sync.WaitGroup

	mu       sync.Mutex
	target   string
	listener net.Listener // nil while down
	links    map[*link]struct{}
	faults   faults
	changed  chan struct{} // closed and replaced when faults change
	passed   [2]int64
}

// faults is what is wrong with the network.
type faults struct {
	cut       bool
	delay     [2]time.Duration
	rate      [2]int   // bytes a second; 0 is without limit
	resetLeft [2]int64 // bytes that may still pass before connections are reset; negative is without limit
}

func healthy() faults { return faults{resetLeft: [2]int64{-1, -1}} }

// Start puts a proxy in front of target (host:port) until the test ends.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := New(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// New is Start outside of a test. The caller calls Close.
func New(target string) (*Proxy, error) {
	n, err := port.Free()
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		addr: fmt.Sprintf("127.0.0.1:%d", n), target: target, links: make(map[*link]struct{}),
		faults: healthy(), changed: make(chan struct{}),
	}
	return p, p.Up()
}

// Addr is where clients connect: host:port, the same for the proxy's life.
func (p *Proxy) Addr() string { return p.addr }

// Close ends all connections and waits until nothing of the proxy runs.
func (p *Proxy) Close() {
	p.Down()
	p.wg.Wait()
}

// SetTarget sends new connections elsewhere, as a moved address does after a failover.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Latency delays the bytes of one direction by d, without limiting their rate up to about 8 MB in flight.
func (p *Proxy) Latency(dir Direction, d time.Duration) {
	p.change(func(f *faults) { f.delay[dir] = d })
}

// Bandwidth limits one direction of each connection, in bytes a second; 0 lifts the limit.
func (p *Proxy) Bandwidth(dir Direction, bytesPerSecond int) {
	p.change(func(f *faults) { f.rate[dir] = bytesPerSecond })
}

// Cut is a network that delivers nothing, in either direction, and tells nobody: connections stay open, their
// ends withheld like their bytes. New connections are accepted and silent, a black hole.
func (p *Proxy) Cut() { p.change(func(f *faults) { f.cut = true }) }

// ResetAfter lets n more bytes pass in the direction, of all connections together, and then resets every
// connection, once. With n = 0 the next byte does it: ToClient, a request is carried out and its answer lost.
func (p *Proxy) ResetAfter(dir Direction, n int64) {
	p.change(func(f *faults) { f.resetLeft[dir] = n })
}

// Heal ends every fault but Down. What Cut withheld is delivered, as TCP would.
func (p *Proxy) Heal() { p.change(func(f *faults) { *f = healthy() }) }

func (p *Proxy) change(set func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set(&p.faults)
	close(p.changed)
	p.changed = make(chan struct{})
}

// Reset breaks every connection with a TCP reset to both sides; new ones are served.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked()
}

func (p *Proxy) resetLocked() {
	for l := range p.links {
		l.reset()
	}
}

// Down resets every connection and refuses new ones.
func (p *Proxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.resetLocked()
}

// Up ends Down.
func (p *Proxy) Up() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("fault proxy: %w", err)
	}
	p.listener = l
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		p.accept(l)
	}()
	return nil
}

// Connections is how many are open.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Passed is how many bytes were delivered in the direction.
func (p *Proxy) Passed(dir Direction) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed[dir]
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.serve(l, client.(*net.TCPConn))
		}
	}
}

// serve connects the client to the target. A target that refuses resets the client.
func (p *Proxy) serve(l net.Listener, client *net.TCPConn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		_ = client.SetLinger(0)
		_ = client.Close()
		return
	}
	k := &link{proxy: p, client: client, server: server.(*net.TCPConn), done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[k] = struct{}{}
	if p.listener != l {
		k.reset()
	}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		k.run()
	}()
}

// forget ends the accounting of a link.
func (p *Proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// state is the faults now, and a channel that says when they are others.
func (p *Proxy) state() (faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.changed
}

// allow says how many of n bytes may pass. Fewer than n means that the connections were reset, or must be: the
// caller delivers the allowed ones and calls Reset.
func (p *Proxy) allow(dir Direction, n int) (allowed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := &p.faults.resetLeft[dir]
	switch {
	case *left < 0:
		allowed = n
	case int64(n) <= *left:
		allowed = n
		*left -= int64(n)
	default:
		allowed = int(*left)
		*left = -1
	}
	p.passed[dir] += int64(allowed)
	return allowed
}
