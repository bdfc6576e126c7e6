//go:build !linux

package restore

import "syscall"

// dieWithParent: only Linux knows how.
func dieWithParent(*syscall.SysProcAttr) {}
