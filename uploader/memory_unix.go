//go:build unix

package uploader

import (
	"fmt"
	"syscall"
)

// mapMemory returns n bytes of zeroed memory outside the garbage collector's heap: large buffers in the heap would let it
// grow to twice their size before it is collected. Pages count as used from their first write on.
func mapMemory(n int) ([]byte, error) {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d MB of memory: %w", n>>20, err)
	}
	return b, nil
}

// unmapMemory gives back what mapMemory gave. Nothing may refer to it any more.
func unmapMemory(b []byte) error { return syscall.Munmap(b) }
