//go:build !linux

package replication

import "time"

// setUserTimeout does nothing: only Linux has TCP_USER_TIMEOUT. Keepalives still find a dead peer.
func setUserTimeout(uintptr, time.Duration) error { return nil }
