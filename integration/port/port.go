// Package port finds free TCP ports for servers that must keep theirs over a restart.
//
// Its ports lie below the range from which kernels take the local ports of outgoing connections, so that
// nothing takes one while its server is down.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The range lies below Linux's default ip_local_port_range (32768-60999).
const (
	lowest  = 15000
	highest = 32000
)

// Free returns a port of 127.0.0.1 on which nobody listened a moment ago.
func Free() (int, error) {
	var last error
	for range 100 {
		n := lowest + rand.IntN(highest-lowest)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n))
		if err != nil {
			last = err
			continue
		}
		return n, l.Close()
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}
