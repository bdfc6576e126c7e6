package backup

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// A fileSet remembers size and checksum of every file that arrived, in 24 bytes each: clusters have millions. Names are
// kept as their hash; the manifest has them in full.
type fileSet struct {
	files []fileSum
	bytes int64
}

type fileSum struct {
	name uint64 // XXH64 of the path
	size int64
	crc  uint32
	seen bool // the manifest lists it
}

func (s *fileSet) add(path string, size int64, crc uint32) {
	s.files = append(s.files, fileSum{name: xxhash.Sum64String(path), size: size, crc: crc})
	s.bytes += size
}

// sort prepares for match, when all files have arrived.
func (s *fileSet) sort() error {
	slices.SortFunc(s.files, func(a, b fileSum) int { return cmp.Compare(a.name, b.name) })
	for i := 1; i < len(s.files); i++ {
		if s.files[i].name == s.files[i-1].name {
			return fmt.Errorf("the server sent a file twice (of %d and %d bytes)", s.files[i-1].size, s.files[i].size)
		}
	}
	return nil
}

// match compares a file that the manifest lists with what arrived.
func (s *fileSet) match(path string, size int64, crc uint32) error {
	i, ok := slices.BinarySearchFunc(s.files, xxhash.Sum64String(path), func(f fileSum, name uint64) int {
		return cmp.Compare(f.name, name)
	})
	if !ok {
		return fmt.Errorf("file %q is in the server's manifest but was not sent", path)
	}
	f := &s.files[i]
	switch {
	case f.seen:
		return fmt.Errorf("file %q is in the server's manifest twice", path)
	case f.size != size:
		return fmt.Errorf("file %q arrived with %d bytes, the server's manifest says %d", path, f.size, size)
	case f.crc != crc:
		return fmt.Errorf("file %q arrived damaged: its CRC-32C is %08x, the server's manifest says %08x", path, f.crc, crc)
	}
	f.seen = true
	return nil
}

// unlisted returns how many files arrived that the manifest does not list.
func (s *fileSet) unlisted() int {
	n := 0
	for _, f := range s.files {
		if !f.seen {
			n++
		}
	}
	return n
}
