//go:build unix

package backup

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mapMemory returns n bytes outside the garbage collector's heap, which large buffers would let grow to twice their size.
// Pages count as used from their first write on.
func mapMemory(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d MB of memory: %w", n>>20, err)
	}
	return b, nil
}

// unmapMemory gives back what mapMemory gave. Nothing may refer to it any more.
func unmapMemory(b []byte) error { return unix.Munmap(b) }

// forgetMemory lets the pages of b count as unused until they are written again. Its content is lost.
func forgetMemory(b []byte) error { return unix.Madvise(b, unix.MADV_DONTNEED) }
