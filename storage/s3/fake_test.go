package s3

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fake is the least S3 store there can be, for what the real one can't be made to do. It checks no
// signature.
type fake struct {
	URL string

	mu       sync.Mutex
	objects  map[string][]byte // by bucket/key
	requests []*http.Request
	// answer, if set, is asked first; true means it has answered.
	answer func(w http.ResponseWriter, r *http.Request, n int) bool
	// ignoreCondition makes Put overwrite whatever If-None-Match says.
	ignoreCondition bool
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{objects: map[string][]byte{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.URL = srv.URL
	return f
}

func (f *fake) config() Config {
	return Config{Bucket: "bucket", Endpoint: f.URL, Credentials: static("key", "secret")}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	n := len(f.requests)
	f.requests = append(f.requests, r)
	answer := f.answer
	f.mu.Unlock()
	if answer != nil && answer(w, r, n) {
		return
	}
	f.serve(w, r)
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	data, found := f.objects[key]
	switch {
	case r.Method == http.MethodPut && found && r.Header.Get("If-None-Match") == "*" && !f.ignoreCondition:
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
	case r.Method == http.MethodPut:
		f.objects[key] = body
	case r.Method == http.MethodDelete:
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case !found:
		fail(w, http.StatusNotFound, "NoSuchKey")
	default:
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(data)
		}
	}
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.requests)
}

func (f *fake) last() *http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[len(f.requests)-1]
}

// fail answers as S3 does.
func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: code, Message: "because of " + code})
}

// failWith returns an answer to every request of the method.
func failWith(method string, status int, code string) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != method {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		fail(w, status, code)
		return true
	}
}

// reset cuts the connection so that the client sees "connection reset by peer".
func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// patience for what must happen at once.
const soon = 10 * time.Second
