package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"walkeep/catalog"
	"walkeep/segment"
)

const (
	rawBuffers = 2 // one is filled while another is compressed
	storers    = 6 // objects on their way at a time
)

// A slicer cuts the files of a backup into slices, and compresses and stores them while the next one is filled. One
// goroutine writes. The raw buffers and a budget of compressed bytes are its memory, and its back-pressure.
type slicer struct {
	catalog *catalog.Catalog
	id      segment.BackupID
	size    int // raw bytes of a slice

	memory [][]byte
	raw    chan []byte // free buffers
	jobs   chan *slice
	budget *semaphore.Weighted // of compressed bytes
	group  *errgroup.Group
	cancel context.CancelFunc
	failed <-chan struct{} // closed when a storer failed, or the context ended

	file *file
	buf  []byte // slice being filled, of a raw buffer
}

// file is a file of the backup that is, or was, written.
type file struct {
	catalog.BackupFile
	slices []*slice
}

// description may be asked for when the slicer has finished.
func (f *file) description() catalog.BackupFile {
	d, hash := f.BackupFile, xxhash.New()
	for _, s := range f.slices {
		d.Stored += s.stored
		_, _ = hash.Write(binary.LittleEndian.AppendUint64(nil, s.hash))
	}
	d.Slices, d.Hash = len(f.slices), fmt.Sprintf("%016x", hash.Sum64())
	return d
}

// slice is one filled buffer on its way. The storer that has it fills in the rest.
type slice struct {
	file   string
	offset int64
	raw    []byte
	hash   uint64 // of raw
	stored int64  // bytes of the object
}

// newSlicer starts the storers; finish or close ends them.
func newSlicer(ctx context.Context, c *catalog.Catalog, id segment.BackupID, size int) (*slicer, error) {
	s := &slicer{
		catalog: c, id: id, size: size,
		raw: make(chan []byte, rawBuffers), jobs: make(chan *slice),
		// One slice that does not shrink, and half of one more.
		budget: semaphore.NewWeighted(int64(segment.MaxEncodedPart(size)) + int64(size)/2),
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.group, ctx = errgroup.WithContext(ctx)
	s.failed = ctx.Done()
	for range rawBuffers {
		buf, err := s.allocate(size)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.raw <- buf
	}
	for range storers {
		buf, err := s.allocate(segment.MaxEncodedPart(size))
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.group.Go(func() error { return s.storeAll(ctx, buf) })
	}
	return s, nil
}

// allocate returns a buffer of no length that close gives back.
func (s *slicer) allocate(size int) ([]byte, error) {
	b, err := mapMemory(size)
	if err != nil {
		return nil, err
	}
	s.memory = append(s.memory, b)
	return b[:0], nil
}

// errStopped is what writing says when a storer failed; finish says why.
var errStopped = errors.New("storing has ended")

// begin starts a file.
func (s *slicer) begin(name string) {
	s.file = &file{BackupFile: catalog.BackupFile{Name: name}}
}

// Write appends to the file. It waits while all buffers are in use.
func (s *slicer) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if s.buf == nil {
			select {
			case s.buf = <-s.raw:
			case <-s.failed:
				return 0, errStopped
			}
		}
		n := min(len(p), s.size-len(s.buf))
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		if len(s.buf) == s.size {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

// end finishes the file.
func (s *slicer) end() (*file, error) {
	if len(s.buf) > 0 {
		if err := s.flush(); err != nil {
			return nil, err
		}
	}
	return s.file, nil
}

// flush gives the slice in hand to a storer.
func (s *slicer) flush() error {
	job := &slice{file: s.file.Name, offset: s.file.Size, raw: s.buf}
	s.file.Size += int64(len(s.buf))
	s.file.slices = append(s.file.slices, job)
	s.buf = nil
	select {
	case s.jobs <- job:
		return nil
	case <-s.failed:
		return errStopped
	}
}

// storeAll stores slices until there are no more. buf is where it compresses to.
func (s *slicer) storeAll(ctx context.Context, buf []byte) error {
	encoder := segment.NewEncoder()
	for {
		select {
		case job, ok := <-s.jobs:
			if !ok {
				return nil
			}
			if err := s.store(ctx, encoder, job, buf); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// store compresses one slice, gives its raw buffer back, and puts the object.
func (s *slicer) store(ctx context.Context, encoder *segment.Encoder, job *slice, buf []byte) error {
	room := int64(segment.MaxEncodedPart(len(job.raw)))
	if err := s.budget.Acquire(ctx, room); err != nil {
		return context.Cause(ctx)
	}
	part := segment.NewPart(s.catalog.SystemID(), s.id, job.file, job.offset, job.raw)
	object, err := encoder.EncodePart(buf, part, job.raw)
	if err != nil {
		return err
	}
	s.raw <- job.raw[:0]
	size := int64(len(object))
	job.raw, job.hash, job.stored = nil, part.Hash, size
	s.budget.Release(room - size)
	if err := s.catalog.PutPart(ctx, part, s.size, object); err != nil {
		return err
	}
	err = forgetMemory(buf[:cap(buf)])
	s.budget.Release(size)
	return err
}

// finish waits until everything is stored.
func (s *slicer) finish() error {
	close(s.jobs)
	return s.group.Wait()
}

// failure is why writing was stopped.
func (s *slicer) failure() error {
	s.cancel()
	return s.group.Wait()
}

// close ends the storers, wherever they are, and gives the memory back.
func (s *slicer) close() error {
	s.cancel()
	_ = s.group.Wait() // its error was returned by finish or failure
	var err error
	for _, b := range s.memory {
		err = errors.Join(err, unmapMemory(b))
	}
	s.memory = nil
	return err
}
