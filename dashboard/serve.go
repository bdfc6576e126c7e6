package dashboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// ErrRemote is returned by Listen for an address that other hosts can reach: the page asks nobody for a
// password.
var ErrRemote = errors.New("address is reachable from other hosts, and the status page has no password")

// ListenOptions adjust Listen.
type ListenOptions struct {
	AllowRemote bool // the user asked for an address that other hosts can reach
}

// Listen opens the TCP address "host:port" (port 0 picks a free one). Without AllowRemote it takes loopback
// addresses only, of a host name all of its addresses, and returns ErrRemote for others.
func Listen(ctx context.Context, addr string, options ListenOptions) (net.Listener, error) {
	if !options.AllowRemote {
		if err := checkLoopback(ctx, addr); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err // it names the act and the address
	}
	return listener, nil
}

func checkLoopback(ctx context.Context, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "" {
		return ErrRemote
	}
	ips, err := new(net.Resolver).LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	for _, ip := range ips {
		if !isLoopback(ip) {
			return ErrRemote
		}
	}
	return nil
}

func isLoopback(ip netip.Addr) bool { return ip.Unmap().IsLoopback() }

// ServeOptions adjust Serve.
type ServeOptions struct {
	Logger *slog.Logger // hears of connections that failed; nil means nobody
}

// Serve answers requests on listener until ctx is done, and returns nil then, or the error that ended it
// before. It closes the listener.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, options ServeOptions) error {
	logger := options.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve status page: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		server.Close() //nolint:errcheck // the listener is closed, and with it all that could fail
	}
	<-done
	return nil
}
