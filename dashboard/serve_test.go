package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

func TestListenRefusesRemote(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		if l, err := Listen(t.Context(), addr, ListenOptions{}); !errors.Is(err, ErrRemote) {
			t.Errorf("Listen(%q) = %v, %v, want ErrRemote", addr, l, err)
		}
	}
	for _, addr := range []string{"", "localhost", "127.0.0.1:http:x"} {
		if l, err := Listen(t.Context(), addr, ListenOptions{}); err == nil {
			l.Close()
			t.Errorf("Listen(%q) succeeded", addr)
		}
	}
	for addr, options := range map[string]ListenOptions{
		"127.0.0.1:0": {}, "127.0.0.2:0": {}, "localhost:0": {}, "0.0.0.0:0": {AllowRemote: true},
	} {
		l, err := Listen(t.Context(), addr, options)
		if err != nil {
			t.Errorf("Listen(%q, %+v): %v", addr, options, err)
			continue
		}
		l.Close()
	}
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listener, err := Listen(ctx, "127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	calls := make(chan chan struct{})
	handler := NewHandler(func() Status {
		release := make(chan struct{})
		calls <- release
		<-release
		return streaming(nil)
	}, HandlerOptions{})
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, listener, handler, ServeOptions{}) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answers := make(chan string)
	ask := func() {
		response, err := client.Get("http://" + listener.Addr().String() + "/healthz")
		if err != nil {
			answers <- "none"
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answers <- string(body)
	}
	go ask()
	close(<-calls)
	if body := <-answers; body != "ok\n" {
		t.Fatalf("got %q", body)
	}

	// A request that hangs doesn't keep Serve from ending.
	go ask()
	hanging := <-calls
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve did not end with its context")
	}
	if body := <-answers; body != "none" {
		t.Errorf("the hanging request was answered: %q", body)
	}
	close(hanging)
	go ask()
	if body := <-answers; body != "none" {
		t.Errorf("still answering: %q", body)
	}
}

func TestServeReportsAClosedListener(t *testing.T) {
	listener, err := Listen(t.Context(), "127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := Serve(t.Context(), listener, http.NotFoundHandler(), ServeOptions{}); err == nil {
		t.Error("Serve on a closed listener = nil")
	}
}
