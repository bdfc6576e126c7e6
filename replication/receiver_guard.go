package replication

import (
	"context"
	"errors"
	"time"

	"walkeep/segment"
)

// guard keeps our slot alive on the other hosts of the connection string, for slots don't follow a failover: it is created
// on each standby that can be reached, and moved forward there to what is durable, never beyond. Without an ordinary
// connection to a standby nothing is created there, since a slot that is never moved fills its disk.
func (r *Receiver) guard(ctx context.Context, current Host, stream *Stream) {
	size := segment.LSN(stream.catalog.SegmentSize())
	// One segment is kept back: after a failover the new timeline is streamed from the beginning of the segment in which it
	// forked, and half a record behind the fork may have been acknowledged already.
	durable := stream.catalog.SegmentSize().Start(stream.mark.LSN())
	if durable <= size {
		return
	}
	for _, host := range r.options.Server.Hosts() {
		if host == current {
			continue
		}
		if err := r.guardHost(ctx, stream, host, durable-size); err != nil && ctx.Err() == nil {
			r.log.Debug("slot not kept on this host", "host", host.String(), "error", err)
		}
	}
}

func (r *Receiver) guardHost(ctx context.Context, stream *Stream, host Host, durable segment.LSN) error {
	ctx, cancel := context.WithTimeout(ctx, monitorInterval/4)
	defer cancel()
	sql, err := OpenSQL(ctx, r.options.Server, host)
	if err != nil {
		return err
	}
	defer func() { _ = sql.Close(context.WithoutCancel(ctx)) }()
	if standby, err := sql.value(ctx, "SELECT pg_is_in_recovery()"); err != nil || standby != "t" {
		return err // another primary's slot is none of our business
	}
	slots, err := sql.Slots(ctx)
	if err != nil {
		return err
	}
	for _, s := range slots {
		switch {
		case s.Name != r.options.Slot:
			continue
		case s.Active:
			return nil // somebody streams from there
		case !s.Lost() && s.RestartLSN != 0:
			if s.RestartLSN >= durable {
				return nil
			}
			return sql.AdvanceSlot(ctx, s.Name, durable)
		}
		return r.createSlotOn(ctx, stream, host, true)
	}
	return r.createSlotOn(ctx, stream, host, false)
}

// createSlotOn makes our slot on a host, in place of one that was invalidated if renew is set.
func (r *Receiver) createSlotOn(ctx context.Context, stream *Stream, host Host, renew bool) error {
	conn, err := Connect(ctx, r.options.Server, host)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	sys, err := conn.Identify(ctx)
	if err != nil {
		return err
	}
	if sys.ID != stream.catalog.SystemID() {
		return errors.New("it belongs to another cluster")
	}
	if renew {
		if err := conn.DropSlot(ctx, r.options.Slot); err != nil && !errors.Is(err, ErrSlotMissing) {
			return err
		}
	}
	if err := conn.CreateSlot(ctx, r.options.Slot); err != nil && !errors.Is(err, ErrSlotExists) {
		return err
	}
	r.log.Info("slot created for a failover", "host", host.String(), "slot", r.options.Slot)
	return nil
}

// yield looks, before we stream from a standby, whether another receiver archives this cluster from a host that we don't
// reach: then the Frontier moves.
func (r *Receiver) yield(ctx context.Context) error {
	before, err := r.archived(ctx)
	if err != nil {
		return err
	}
	select {
	case <-time.After(2 * r.options.TailInterval):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := r.archived(ctx)
	if err != nil {
		return err
	}
	for _, a := range after {
		if b, ok := find(before, a.Lineage); !ok || a.Frontier > b.Frontier {
			return &refusedError{StateWaiting, "another receiver archives this cluster from a host that we can't reach: waiting until it stops"}
		}
	}
	return nil
}
