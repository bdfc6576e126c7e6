package fault

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// A link is one client's connection and the one to the server that belongs to it.
type link struct {
	proxy          *Proxy
	client, server *net.TCPConn
	done           chan struct{} // closed when the link is broken
	once           sync.Once
}

// A chunk is what was read at once, and the time of its delivery. No data is the end of the stream.
type chunk struct {
	data []byte
	due  time.Time
}

const (
	chunkSize  = 32 << 10
	chunkQueue = 256 // with chunkSize: what is in flight at most
	writesASec = 50  // how finely a bandwidth limit is spread
)

// run passes bytes both ways until both ends said they are done, or the link is broken.
func (l *link) run() {
	defer l.proxy.forget(l)
	var wg sync.WaitGroup
	for _, w := range []struct {
		dir      Direction
		from, to *net.TCPConn
	}{{ToServer, l.client, l.server}, {ToClient, l.server, l.client}} {
		queue := make(chan chunk, chunkQueue)
		wg.Add(2)
		go func() {
			defer wg.Done()
			defer close(queue)
			l.read(w.dir, w.from, queue)
		}()
		go func() {
			defer wg.Done()
			l.write(w.dir, w.to, queue)
		}()
	}
	wg.Wait()
	l.close()
}

// close ends both connections in the ordinary way.
func (l *link) close() {
	l.once.Do(func() {
		close(l.done)
		_, _ = l.client.Close(), l.server.Close()
	})
}

// reset ends both connections with RST.
func (l *link) reset() {
	_, _ = l.client.SetLinger(0), l.server.SetLinger(0)
	l.close()
}

// read queues what comes in. A reader that ends in an error, a reset say, is passed on as one.
func (l *link) read(dir Direction, from *net.TCPConn, queue chan<- chunk) {
	for {
		buf := make([]byte, chunkSize)
		n, err := from.Read(buf)
		f, _ := l.proxy.state()
		due := time.Now().Add(f.delay[dir])
		if n > 0 && !l.put(queue, chunk{buf[:n], due}) {
			return
		}
		if errors.Is(err, io.EOF) {
			l.put(queue, chunk{nil, due})
			return
		}
		if err != nil {
			if l.passes() {
				l.reset()
			}
			return
		}
	}
}

func (l *link) put(queue chan<- chunk, c chunk) bool {
	select {
	case queue <- c:
		return true
	case <-l.done:
		return false
	}
}

// write delivers what is queued, when it is due and the faults permit.
func (l *link) write(dir Direction, to *net.TCPConn, queue <-chan chunk) {
	var next time.Time // when the bandwidth limit permits the next byte
	for c := range queue {
		if !l.sleep(time.Until(c.due)) || !l.passes() {
			return
		}
		if c.data == nil {
			_ = to.CloseWrite()
			continue
		}
		for len(c.data) > 0 {
			n, ok := l.pace(dir, len(c.data), &next)
			if !ok || !l.deliver(dir, to, c.data[:n]) {
				return
			}
			c.data = c.data[n:]
		}
	}
}

// deliver writes data and says whether the link goes on.
func (l *link) deliver(dir Direction, to *net.TCPConn, data []byte) bool {
	allowed := l.proxy.allow(dir, len(data))
	if allowed > 0 {
		if _, err := to.Write(data[:allowed]); err != nil {
			if l.passes() {
				l.reset()
			}
			return false
		}
	}
	if allowed < len(data) {
		l.proxy.Reset()
		return false
	}
	return true
}

// pace waits until the bandwidth limit and a cut permit bytes, and says how many of n.
func (l *link) pace(dir Direction, n int, next *time.Time) (int, bool) {
	for {
		f, changed := l.proxy.state()
		wait := time.Until(*next)
		switch {
		case f.cut:
			wait = time.Hour
		case f.rate[dir] == 0:
			return n, true
		case wait <= 0:
			n = min(n, max(1, f.rate[dir]/writesASec))
			*next = time.Now().Add(time.Duration(n) * time.Second / time.Duration(f.rate[dir]))
			return n, true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-l.done:
			timer.Stop()
			return 0, false
		}
		timer.Stop()
	}
}

// passes waits while the network is cut, and says whether the link is still whole.
func (l *link) passes() bool {
	for {
		f, changed := l.proxy.state()
		if !f.cut {
			select {
			case <-l.done:
				return false
			default:
				return true
			}
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}

func (l *link) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}
