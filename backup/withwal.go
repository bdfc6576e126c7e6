package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"walkeep/replication"
	"walkeep/segment"
	"walkeep/uploader"
)

// WALSlot is the replication slot that WithWAL makes for as long as the backup takes.
const WALSlot = "walkeep_backup"

// stopReceiver bounds the end of the receiver that runs beside a backup, and the dropping of its slot.
const stopReceiver = 30 * time.Second

// beside runs work while a receiver of our own archives the WAL, from before work begins. Its slot is dropped again.
func (s *session) beside(ctx context.Context, work func(context.Context) error) error {
	receiver, err := replication.NewReceiver(replication.ReceiverOptions{
		Server: s.options.Server, Store: s.options.Store, Slot: WALSlot, SystemID: s.catalog.SystemID(), Log: s.log,
		Uploader: uploader.Options{
			Buffers: 2, Compressors: 1, ArenaBytes: segment.MaxEncoded(int(s.catalog.SegmentSize())),
		},
	})
	if err != nil {
		return err
	}
	s.log.Info("archiving WAL as long as the backup takes", "slot", WALSlot)
	stop := make(chan struct{})
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return receiver.Run(running, stop) })
	group.Go(func() error {
		defer close(stop)
		if err := s.awaitBegin(running); err != nil {
			return err
		}
		return work(running)
	})
	err = group.Wait()
	return errors.Join(err, s.dropSlot(context.WithoutCancel(ctx)))
}

// awaitBegin waits until the archive has a beginning on the server's lineage: WAL from there on will be in it.
func (s *session) awaitBegin(ctx context.Context) error {
	return s.every(ctx, func() (bool, error) {
		_, started, err := s.catalog.Started(ctx, s.server.lineage)
		return started, err
	})
}

// dropSlot leaves no slot behind. The server takes a moment to notice that nobody uses it any more.
func (s *session) dropSlot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopReceiver)
	defer cancel()
	conn, err := replication.Connect(ctx, s.options.Server, s.server.host)
	if err != nil {
		return fmt.Errorf("slot %s is left behind, it keeps WAL until walkeep slot drop: %w", WALSlot, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = s.every(ctx, func() (bool, error) {
		switch err := conn.DropSlot(ctx, WALSlot); {
		case err == nil, errors.Is(err, replication.ErrSlotMissing):
			return true, nil
		case replication.Classify(err) == replication.ClassSlotActive:
			return false, nil
		default:
			return false, err
		}
	})
	if err != nil {
		return fmt.Errorf("slot %s is left behind, it keeps WAL until walkeep slot drop: %w", WALSlot, err)
	}
	return nil
}

// every asks until done, an error, or the end of ctx.
func (s *session) every(ctx context.Context, done func() (bool, error)) error {
	for delay := minPoll; ; delay = min(2*delay, maxPoll) {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
