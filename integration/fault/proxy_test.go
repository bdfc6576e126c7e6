package fault_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/integration/fault"
	"walkeep/integration/poll"
	"walkeep/integration/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve handles connections with a function until the test ends and returns its address.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// flood writes until it can't.
func flood(c net.Conn) {
	for buf := make([]byte, 64<<10); ; {
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask sends one message and reads its echo within limit.
func ask(c net.Conn, text string, limit time.Duration) error {
	if _, err := c.Write([]byte(text)); err != nil {
		return err
	}
	return hear(c, text, limit)
}

func hear(c net.Conn, text string, limit time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(limit))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return errors.New("wrong bytes: " + string(got))
	}
	return nil
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestBytesPassUnchangedAndEndsToo(t *testing.T) {
	p := fault.Start(t, serve(t, echo))
	c := dial(t, p.Addr()).(*net.TCPConn)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	go func() {
		_, _ = c.Write(want)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back, error %v; want %d", len(got), err, len(want))
	}
	if n := p.Passed(fault.ToClient); n != int64(len(want)) {
		t.Errorf("Passed = %d, want %d", n, len(want))
	}
}

func TestCutWithholdsAndHealDelivers(t *testing.T) {
	p := fault.Start(t, serve(t, echo))
	c := dial(t, p.Addr())
	if err := ask(c, "before", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := ask(c, "during", 200*time.Millisecond); !isTimeout(err) {
		t.Fatalf("a cut network answered: %v", err)
	}
	if err := ask(dial(t, p.Addr()), "new", 200*time.Millisecond); !isTimeout(err) {
		t.Fatalf("a cut network serves a new connection: %v", err)
	}
	p.Heal()
	if err := hear(c, "during", time.Minute); err != nil {
		t.Fatalf("after Heal: %v", err)
	}
}

func TestCutHidesTheEndOfAConnection(t *testing.T) {
	ended := make(chan struct{})
	p := fault.Start(t, serve(t, func(c net.Conn) {
		echo(c)
		close(ended)
	}))
	c := dial(t, p.Addr())
	if err := ask(c, "x", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	_ = c.Close()
	select {
	case <-ended:
		t.Fatal("the server learned of the client's end through a cut network")
	case <-time.After(200 * time.Millisecond):
	}
	p.Heal()
	<-ended
}

// A client that does not read must not keep faults from being set: this is when they are wanted.
func TestFaultsCountWhileAClientDoesNotRead(t *testing.T) {
	p := fault.Start(t, serve(t, flood))
	c := dial(t, p.Addr())
	settled(t, p)
	p.Cut()
	p.Heal()
	p.Latency(fault.ToClient, time.Millisecond)
	p.Reset()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after Reset: %v, want a connection reset", err)
	}
}

// settled waits until nothing passes any more.
func settled(t *testing.T, p *fault.Proxy) {
	t.Helper()
	last, since := int64(-1), time.Now()
	err := poll.For(time.Minute, "full buffers", func(context.Context) (bool, error) {
		if n := p.Passed(fault.ToClient); n != last || n == 0 {
			last, since = n, time.Now()
		}
		return time.Since(since) > 200*time.Millisecond, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLatencyAndBandwidth(t *testing.T) {
	p := fault.Start(t, serve(t, echo))
	c := dial(t, p.Addr())
	p.Latency(fault.ToClient, 150*time.Millisecond)
	begin := time.Now()
	if err := ask(c, "slow", time.Minute); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("a round trip of %s with 150 ms of latency", took)
	}
	p.Heal()
	p.Bandwidth(fault.ToServer, 100_000)
	begin = time.Now()
	if err := ask(c, string(make([]byte, 30_000)), time.Minute); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 250*time.Millisecond || took > 5*time.Second {
		t.Errorf("30 kB at 100 kB/s took %s", took)
	}
}

func TestDownRefusesAndUpServesAgain(t *testing.T) {
	p := fault.Start(t, serve(t, echo))
	c := dial(t, p.Addr())
	if err := ask(c, "x", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Down()
	if err := ask(c, "x", time.Minute); err == nil || isTimeout(err) {
		t.Errorf("a connection outlived Down: %v", err)
	}
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial while down: %v", err)
	}
	if err := p.Up(); err != nil {
		t.Fatal(err)
	}
	if err := ask(dial(t, p.Addr()), "x", time.Minute); err != nil {
		t.Error(err)
	}
}

func TestResetAfterDeliversWhatItPromisedOnce(t *testing.T) {
	p := fault.Start(t, serve(t, echo))
	p.ResetAfter(fault.ToClient, 3)
	c := dial(t, p.Addr())
	_, _ = c.Write([]byte("abcdef"))
	got, err := io.ReadAll(c)
	if !errors.Is(err, syscall.ECONNRESET) || len(got) > 3 {
		t.Errorf("read %q, %v; want at most 3 bytes and a reset", got, err)
	}
	if n := p.Passed(fault.ToServer); n != 6 {
		t.Errorf("%d bytes reached the server, want 6", n)
	}
	if err := ask(dial(t, p.Addr()), "again", time.Minute); err != nil {
		t.Errorf("the connection after: %v", err)
	}
}

func TestPostgresBehindAProxy(t *testing.T) {
	s := postgres.Start(t, postgres.Options{})
	p := fault.Start(t, s.Addr())
	standby := s.Standby(t, p.Addr(), postgres.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p.Cut()
	s.MustExec(t, "CREATE TABLE withheld AS SELECT 1")
	lsn, err := s.CurrentLSN(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := standby.FlushLSN(ctx); err != nil || at >= lsn {
		t.Fatalf("the standby is at %s, %v: WAL up to %s went through a cut network", at, err, lsn)
	}
	p.Heal()
	if err := standby.WaitReplay(ctx, lsn); err != nil {
		t.Fatal(err)
	}
}
