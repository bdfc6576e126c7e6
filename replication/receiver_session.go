package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/segment/record"
	"walkeep/uploader"
)

// session is one connection: connect, reconcile, stream. It returns why it ended.
func (r *Receiver) session(ctx context.Context, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := r.waitForBuffers(ctx, stop); err != nil {
		return err
	}
	prepare, done := untilStopped(ctx, stop)
	conn, sys, err := r.connect(prepare)
	if err != nil {
		done()
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	s, err := r.prepare(prepare, conn, sys)
	done()
	if err != nil {
		return err
	}
	s.stop = stop
	err = r.stream(ctx, conn, s)
	r.state.detach()
	if s.boundary != nil { // else that of the stream before is the one to go on from
		r.boundary = s.boundary
	}
	var damage *record.DamageError
	if errors.As(err, &damage) {
		r.damage = damage.LSN
		r.log.Error("the server sent a damaged record: it is not archived, and asked for once more",
			"lsn", damage.LSN.String(), "reason", damage.Reason)
	}
	return err
}

// untilStopped returns a context that also ends when stop is closed.
func untilStopped(ctx context.Context, stop <-chan struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// waitForBuffers waits, after all buffers had been busy, until half of them are free.
func (r *Receiver) waitForBuffers(ctx context.Context, stop <-chan struct{}) error {
	for r.throttled {
		if stats := r.uploader.Stats(); stats.FreeBuffers*2 >= stats.Buffers {
			r.throttled = false
			break
		}
		if r.state.set(StateThrottled, "storage is slow or away: WAL waits on the server, in the slot, until storage answers") {
			r.log.Warn("all buffers wait for storage, disconnected until half are free")
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.laneFailed():
			return r.lane.Err()
		case <-stop:
			return errStopping
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *Receiver) laneFailed() <-chan struct{} {
	if r.lane == nil {
		return nil
	}
	return r.lane.Failed()
}

// prepare reconciles with the server and the repository, and returns the Stream to run.
func (r *Receiver) prepare(ctx context.Context, conn *Conn, sys System) (*Stream, error) {
	size, err := conn.SegmentSize(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.openCatalog(ctx, sys, size); err != nil {
		return nil, err
	}
	plan, err := r.reconcile(ctx, conn, sys)
	if err != nil {
		return nil, err
	}
	options, err := r.streamOptions(ctx, conn)
	if err != nil {
		return nil, err
	}
	prefix, err := r.parentBytes(ctx, plan.Decision)
	if err != nil {
		return nil, err
	}
	start, lineage := plan.Start, plan.Branch.Lineage
	first := segment.NameAt(lineage.Timeline, start, size)
	tail, err := r.catalog.TailPieces(ctx, lineage, first)
	tailDamaged := catalog.IsDamaged(err)
	if err != nil && !tailDamaged {
		return nil, err
	}
	if len(tail) > 0 || tailDamaged {
		r.lane.Linked(first)
	}
	r.state.connected(conn, sys, lineage, plan.standby, options)
	r.state.setRivals(plan.Rivals)
	s := &Stream{
		options: options, timeline: lineage.Timeline, start: start, size: size, prefix: prefix, end: plan.end,
		lane: r.lane, uploader: r.uploader, catalog: r.catalog,
		mark: r.lane.Begin(start), log: r.log,
		progress: newProgress(start, &r.state.ends), window: newWindow(),
		chunks:  make(chan chunk, 64),
		aborted: make(chan error, 1),
		reader:  r.recordReader(ctx, plan),
		hash:    xxhash.New(),
		tail:    tail, tailDamaged: err != nil,
		damaged: r.archiveDamaged,
	}
	s.setSynchronous(options.Synchronous)
	return s, nil
}

// streamOptions asks the server for what shapes the stream.
func (r *Receiver) streamOptions(ctx context.Context, conn *Conn) (StreamOptions, error) {
	timeout, err := conn.WALSenderTimeout(ctx)
	if err != nil {
		return StreamOptions{}, err
	}
	names, err := conn.Show(ctx, "synchronous_standby_names")
	if err != nil {
		return StreamOptions{}, err
	}
	standbys, err := ParseSyncStandbys(names)
	if err != nil {
		r.log.Warn("synchronous_standby_names not understood, streaming as an asynchronous standby", "value", names, "error", err)
	}
	name := r.options.Server.ApplicationName
	return StreamOptions{
		Slot: r.options.Slot, TailInterval: r.options.TailInterval, TailBytes: r.options.TailBytes,
		ReleaseAfter: r.options.ReleaseAfter, ThrottleWait: r.options.ThrottleWait, StopTimeout: r.options.StopTimeout,
		SenderTimeout: timeout, Synchronous: standbys.Matches(name), SynchronousOnly: standbys.Requires(name), Damage: r.damage,
	}, nil
}

// openCatalog opens the cluster's part of the repository, once, and refuses another cluster.
func (r *Receiver) openCatalog(ctx context.Context, sys System, size segment.Size) error {
	if want := r.options.SystemID; want != 0 && want != sys.ID {
		return fatal("the server has system identifier %d, not %d as --system-id says: it is another cluster", sys.ID, want)
	}
	if r.catalog != nil {
		if r.catalog.SystemID() != sys.ID {
			return fatal("the server now has system identifier %d, before it was %d: another cluster answers at this address, or the cluster was "+
				"upgraded with pg_upgrade; start walkeep again if that is meant", sys.ID, r.catalog.SystemID())
		}
		return nil
	}
	if err := r.refuseStranger(ctx, sys.ID); err != nil {
		return err
	}
	c, created, err := catalog.Create(ctx, r.options.Store, sys.ID, size, time.Now())
	if err != nil {
		return permanent(err)
	}
	if created {
		r.log.Info("repository begun", "system_id", sys.ID, "wal_segment_size", int(size))
	}
	u, err := uploader.New(c, r.options.Uploader, r.log)
	if err != nil {
		return &FatalError{err}
	}
	r.catalog, r.uploader = c, u
	uploads, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.uploads, r.stopUpload = new(errgroup.Group), cancel
	r.uploads.Go(func() error { return u.Run(uploads) })
	r.state.opened(c, u)
	return nil
}

// refuseStranger keeps a server from being archived by mistake into the repository of other clusters.
func (r *Receiver) refuseStranger(ctx context.Context, systemID uint64) error {
	if r.options.SystemID == systemID {
		return nil
	}
	known, err := catalog.Clusters(ctx, r.options.Store)
	if err != nil {
		return permanent(err)
	}
	for _, id := range known {
		if id.SystemID == fmt.Sprint(systemID) {
			return nil
		}
	}
	if len(known) > 0 {
		return fatal("the repository belongs to the cluster with system identifier %s, this server has %d: if the cluster was upgraded with "+
			"pg_upgrade, or the repository is meant for several, add --system-id %d", known[0].SystemID, systemID, systemID)
	}
	return nil
}

// stream runs the Stream on the connection.
func (r *Receiver) stream(ctx context.Context, conn *Conn, s *Stream) error {
	socket, err := conn.Hijack()
	if err != nil {
		return err
	}
	unstopped, done := untilStopped(ctx, s.stop)
	defer done()
	s.wire = newWire(socket)
	if err := s.begin(unstopped); err != nil {
		_ = socket.Close()
		if Classify(err) == ClassWALRemoved {
			return r.lost(unstopped, s)
		}
		return err
	}
	r.state.attach(s)
	r.log.Info("streaming", "host", conn.Host().String(), "timeline", uint32(s.timeline), "lsn", s.start.String(), "synchronous", s.options.Synchronous)
	err = s.run(ctx)
	if Classify(err) == ClassWALRemoved {
		return r.lost(unstopped, s)
	}
	return err
}

// begin sends START_REPLICATION. Always with a timeline: without one the server checks no history.
func (s *Stream) begin(ctx context.Context) error {
	closer := context.AfterFunc(ctx, func() { _ = s.wire.conn.Close() })
	defer closer()
	if err := s.wire.conn.SetReadDeadline(time.Now().Add(silence(s.options.SenderTimeout))); err != nil {
		return err
	}
	command := fmt.Sprintf("START_REPLICATION SLOT %s PHYSICAL %s TIMELINE %d", quoteName(s.options.Slot), s.start, uint32(s.timeline))
	if err := s.wire.query(command); err != nil {
		return err
	}
	switched, err := s.wire.awaitCopy()
	if err != nil {
		return fmt.Errorf("start replication at %s on timeline %d: %w", s.start, uint32(s.timeline), err)
	}
	if switched != nil {
		return &TimelineEnd{Next: switched.next, Start: switched.nextStart}
	}
	return s.wire.conn.SetReadDeadline(time.Time{})
}
