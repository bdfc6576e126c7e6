package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"walkeep/dashboard"
)

// demoReceiver is a "walkeep receive" of the demo, watched through its status page as an operator would.
type demoReceiver struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and its output is read
	url    string        // of status.json

	mu    sync.Mutex
	last  string    // what it last logged
	shown demoShown // newest look at its status
}

// demoShown is one look at the status.
type demoShown struct {
	at     time.Time // when it was asked for
	status dashboard.Status
}

// startDemoReceiver starts the receiver and returns when it streams; as a synchronous standby, if that is wanted.
func startDemoReceiver(ctx context.Context, d *demo, synchronous bool) (*demoReceiver, error) {
	r := &demoReceiver{exited: make(chan struct{})}
	r.cmd = d.server.Account.Command(context.WithoutCancel(ctx), d.dir, d.program, "receive", "--repo", d.repo(),
		"--primary", fmt.Sprintf("host='%s' user=postgres", d.dir), "--listen", "127.0.0.1:0", "--log-format", "json")
	output, err := r.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(d.path("receiver.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	page := make(chan string, 1)
	go func() {
		defer close(r.exited)
		defer log.Close()
		r.read(io.TeeReader(output, log), page)
		_ = r.cmd.Wait() // what it logged says more
	}()
	select {
	case url := <-page:
		r.url, err = statusURL(url)
	case <-r.exited:
		err = fmt.Errorf("walkeep receive has stopped: %s", r.lastWords())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err == nil {
		err = r.await(ctx, func(s dashboard.Status) bool {
			return s.State == dashboard.Streaming && s.LagKnown && s.DurableLSN != "" && s.Synchronous == synchronous
		})
	}
	if err != nil {
		return nil, errors.Join(err, r.kill())
	}
	return r, nil
}

// read follows the log to its end, and sends the address of the status page.
func (r *demoReceiver) read(log io.Reader, page chan<- string) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		r.mu.Lock()
		r.last = lines.Text()
		r.mu.Unlock()
		var entry struct{ Msg, URL string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "status page" {
			page <- entry.URL
		}
	}
}

func (r *demoReceiver) lastWords() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// look asks for the status and remembers it.
func (r *demoReceiver) look(ctx context.Context) (demoShown, error) {
	at := time.Now()
	a, err := fetchStatus(ctx, r.url)
	if err != nil {
		return demoShown{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = demoShown{at: at, status: a.status}
	return r.shown, nil
}

// await looks until the status is as wanted.
func (r *demoReceiver) await(ctx context.Context, wanted func(dashboard.Status) bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if shown, err := r.look(ctx); err == nil && wanted(shown.status) {
			return nil
		}
		select {
		case <-tick.C:
		case <-r.exited:
			return fmt.Errorf("walkeep receive has stopped: %s", r.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("walkeep receive does not stream: %w: %s", context.Cause(ctx), r.lastWords())
		}
	}
}

// newest is the last look.
func (r *demoReceiver) newest() demoShown {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown
}

// kill kills it with -9, if it is there, and returns when it is gone.
func (r *demoReceiver) kill() error {
	if r == nil {
		return nil
	}
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill walkeep receive: %w", err)
	}
	<-r.exited
	return nil
}
