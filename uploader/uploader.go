package uploader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"walkeep/catalog"
	"walkeep/segment"
)

// Options fix an Uploader's memory and concurrency. The zero value of each field means its default.
type Options struct {
	// Buffers is the number of raw segment buffers, at least 2. Default: as many as fit 64 MiB, from 2 to 16.
	Buffers int
	// ArenaBytes is the memory for compressed bytes in flight; it must hold one segment that does not compress.
	// Default: 64 MiB, or one such segment.
	ArenaBytes int
	// Compressors is how many segments are compressed at a time. Default: the number of CPUs, up to 4.
	Compressors int
	// Puts is how many segments are on their way to the store at a time. Default 16.
	Puts int
}

const (
	defaultMemory = 64 << 20
	defaultPuts   = 16
)

func (o Options) withDefaults(size segment.Size) (Options, error) {
	if o.Buffers == 0 {
		o.Buffers = min(max(defaultMemory/int(size), 2), 16)
	}
	if o.ArenaBytes == 0 {
		o.ArenaBytes = max(defaultMemory, segment.MaxEncoded(int(size)))
	}
	if o.Compressors == 0 {
		o.Compressors = min(runtime.NumCPU(), 4)
	}
	if o.Puts == 0 {
		o.Puts = defaultPuts
	}
	switch {
	case o.Buffers < 2:
		return o, errors.New("an uploader needs at least 2 segment buffers")
	case o.ArenaBytes < segment.MaxEncoded(int(size)):
		return o, fmt.Errorf("%d bytes for compressed objects can't hold a segment of %d MB", o.ArenaBytes, size>>20)
	case o.Compressors < 1 || o.Puts < 1:
		return o, errors.New("an uploader needs at least one compressor and one put")
	case o.Buffers+o.Puts >= catalog.MaxAhead:
		return o, fmt.Errorf("buffers and puts together must stay below %d", catalog.MaxAhead)
	}
	return o, nil
}

// An Uploader stores the segments and links of one cluster. Everything waits for Run.
type Uploader struct {
	catalog *catalog.Catalog
	options Options
	log     *slog.Logger
	pool    *pool
	arena   *arena
	jobs    chan job      // has room for a job in every buffer: sending never waits
	puts    chan struct{} // one token for each segment on its way
	drops   chan drop     // tails to delete
	counts  counts
}

type counts struct {
	segments, links, rollups, storedBytes atomic.Int64
	putting                               atomic.Int64
}

// job is a full segment on its way.
type job struct {
	lane *Lane
	name segment.Name
	buf  *Buffer
	hash uint64 // XXH64 of buf
}

// drop is a tail whose segment is durable.
type drop struct {
	lane *Lane
	name segment.Name
}

// New reserves the memory. Close gives it back.
func New(c *catalog.Catalog, options Options, log *slog.Logger) (*Uploader, error) {
	options, err := options.withDefaults(c.SegmentSize())
	if err != nil {
		return nil, err
	}
	p, err := newPool(options.Buffers, int(c.SegmentSize()))
	if err != nil {
		return nil, err
	}
	a, err := newArena(options.ArenaBytes)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return &Uploader{
		catalog: c, options: options, log: log, pool: p, arena: a,
		jobs: make(chan job, options.Buffers), puts: make(chan struct{}, options.Puts),
		drops: make(chan drop, catalog.MaxAhead),
	}, nil
}

// Close gives the memory back. Run must have returned, and every Buffer must be released or forgotten.
func (u *Uploader) Close() error { return errors.Join(u.pool.close(), u.arena.close()) }

// Buffer waits for a free segment buffer. The caller owns it and must Release it or give it to Lane.Segment.
func (u *Uploader) Buffer(ctx context.Context) (*Buffer, error) { return u.pool.get(ctx) }

// Stats is a snapshot of what an Uploader does and has done.
type Stats struct {
	Buffers, FreeBuffers     int
	Segments, Links, Rollups int64 // stored since start
	StoredBytes              int64 // compressed, since start
	InFlight                 int   // segments on their way to the store
	InFlightBytes            int
}

// Stats returns a snapshot.
func (u *Uploader) Stats() Stats {
	used, _ := u.arena.used()
	return Stats{
		Buffers: u.options.Buffers, FreeBuffers: len(u.pool.free),
		Segments: u.counts.segments.Load(), Links: u.counts.links.Load(), Rollups: u.counts.rollups.Load(),
		StoredBytes: u.counts.storedBytes.Load(), InFlight: int(u.counts.putting.Load()), InFlightBytes: used,
	}
}

// Run compresses and stores what the lanes hand in, until ctx ends, and returns when no Put is under way any more. The
// segments that it did not get to are lost to this process; their WAL was not acknowledged.
func (u *Uploader) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	var puts sync.WaitGroup
	for range u.options.Compressors {
		group.Go(func() error { return u.compress(ctx, &puts) })
	}
	group.Go(func() error { return u.dropTails(ctx) })
	err := group.Wait()
	puts.Wait()
	return err
}

// compress is one worker: it takes full segments in order and starts their Puts.
func (u *Uploader) compress(ctx context.Context, puts *sync.WaitGroup) error {
	encoder := segment.NewEncoder()
	for {
		var j job
		select {
		case j = <-u.jobs:
		case <-ctx.Done():
			return nil
		}
		if err := j.lane.waitNear(ctx, j.name); err != nil {
			j.buf.Release()
			continue // what a failed lane was handed is dropped; the end of ctx is seen above
		}
		b, err := u.arena.reserve(ctx, segment.MaxEncoded(len(j.buf.Bytes)))
		if err != nil {
			j.buf.Release()
			return nil // ctx has ended
		}
		statement := segment.Statement{
			SystemID: u.catalog.SystemID(), Lineage: j.lane.lineage,
			From: j.name.Start(), To: j.name.End(), Hash: j.hash,
		}
		object, err := encoder.Encode(b.empty(), statement, j.buf.Bytes)
		j.buf.Release()
		if err != nil {
			b.free()
			j.lane.fail(err)
			continue
		}
		b.shrink(len(object))
		select {
		case u.puts <- struct{}{}:
		case <-ctx.Done():
			b.free()
			return nil
		}
		puts.Go(func() {
			defer func() { <-u.puts }()
			defer b.free()
			u.put(ctx, j, statement, object)
		})
	}
}

func (u *Uploader) put(ctx context.Context, j job, statement segment.Statement, object []byte) {
	u.counts.putting.Add(1)
	defer u.counts.putting.Add(-1)
	err := u.catalog.PutSegment(ctx, j.name, statement, object)
	if err != nil {
		if ctx.Err() == nil {
			j.lane.fail(err)
		}
		return
	}
	u.counts.segments.Add(1)
	u.counts.storedBytes.Add(int64(len(object)))
	if j.lane.stored(j.name) {
		select {
		case u.drops <- drop{j.lane, j.name}:
		default: // expire sweeps what is left
		}
	}
}

// dropTails deletes the tails of segments that are durable.
func (u *Uploader) dropTails(ctx context.Context) error {
	for {
		select {
		case d := <-u.drops:
			if err := u.catalog.DropTail(ctx, d.lane.lineage, d.name); err != nil && ctx.Err() == nil {
				u.log.Warn("tail of a stored segment not deleted, expire will do it", "segment", d.name.String(), "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}
