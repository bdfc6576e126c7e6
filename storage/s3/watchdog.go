package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A watchdog cancels a call when nothing has moved for too long: while connecting, while sending, while
// waiting for the answer, while receiving.
type watchdog struct {
	patience time.Duration
	timer    *time.Timer
	cancel   context.CancelCauseFunc
}

func watch(ctx context.Context, patience time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	silent := func() { cancel(fmt.Errorf("the store was silent for %s", patience)) }
	return ctx, &watchdog{patience: patience, timer: time.AfterFunc(patience, silent), cancel: cancel}
}

// alive says that something has moved.
func (d *watchdog) alive() {
	d.timer.Reset(d.patience)
}

func (d *watchdog) stop() {
	d.timer.Stop()
	d.cancel(nil)
}

// reader returns r, with each read that brings something a sign of life.
func (d *watchdog) reader(r io.Reader) io.Reader {
	return &watchedReader{r: r, dog: d}
}

type watchedReader struct {
	r   io.Reader
	dog *watchdog
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.dog.alive()
	}
	return n, err
}

// A body is what a Put sends. The transport may go on reading it after the request has ended; detach makes
// sure that it doesn't touch the caller's data any more. For that, and for the watchdog, it has Read and
// Seek only, not the WriteTo of a bytes.Reader, which would lend the data itself to the connection.
type body struct {
	dog *watchdog

	mu sync.Mutex
	r  *bytes.Reader // nil when detached
}

var errDetached = errors.New("the request has ended")

func newBody(data []byte, dog *watchdog) *body {
	return &body{dog: dog, r: bytes.NewReader(data)}
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errDetached
	}
	b.dog.alive()
	return b.r.Read(p)
}

func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errDetached
	}
	return b.r.Seek(offset, whence)
}

func (b *body) detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = nil
}
