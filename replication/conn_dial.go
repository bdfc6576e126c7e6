package replication

import (
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// keepalive says how fast a dead peer is noticed by the kernel.
type keepalive struct {
	disabled       bool
	idle, interval time.Duration
	count          int
	userTimeout    time.Duration // TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged
}

// defaultKeepalive notices a silent peer within 30 s. A receiver that doesn't keeps the slot busy.
var defaultKeepalive = keepalive{idle: 10 * time.Second, interval: 5 * time.Second, count: 4, userTimeout: 30 * time.Second}

// dial returns the function that opens sockets of this kind.
func (k keepalive) dial() pgconn.DialFunc {
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: !k.disabled, Idle: k.idle, Interval: k.interval, Count: k.count,
	}}
	if k.disabled {
		d.KeepAlive = -1
	}
	d.Control = func(network, _ string, c syscall.RawConn) error {
		if network == "unix" || k.userTimeout <= 0 {
			return nil
		}
		var setErr error
		if err := c.Control(func(fd uintptr) { setErr = setUserTimeout(fd, k.userTimeout) }); err != nil {
			return err
		}
		return setErr
	}
	return d.DialContext
}
