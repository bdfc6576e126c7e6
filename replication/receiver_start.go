package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/segment/record"
	"walkeep/storage"
)

// ensureSlot creates the slot if it is missing, and again if it keeps nothing any more.
func (r *Receiver) ensureSlot(ctx context.Context, conn *Conn) (Slot, error) {
	name := r.options.Slot
	info, seen, sqlErr := r.slotInfo(ctx, conn.Host())
	if seen && info.Lost() {
		// 16 and 17 would let us stream from it all the same, without keeping anything (replication/slot.c).
		return r.renewSlot(ctx, conn, "invalidated: "+info.WALStatus+" "+info.InvalidationReason)
	}
	slot, err := conn.ReadSlot(ctx, name)
	if errors.Is(err, ErrUnsupported) {
		return r.ensureOldSlot(ctx, conn, info, seen, sqlErr)
	}
	if err != nil {
		return slot, err
	}
	if slot.Exists && slot.RestartLSN != 0 {
		return slot, nil
	}
	if slot.Exists {
		return r.renewSlot(ctx, conn, "it has no position")
	}
	if err := conn.CreateSlot(ctx, name); err != nil && !errors.Is(err, ErrSlotExists) {
		return slot, err
	}
	r.log.Info("slot created", "slot", name)
	return conn.ReadSlot(ctx, name)
}

// renewSlot makes anew a slot that keeps nothing any more. What the server has removed meanwhile shows when the stream
// begins.
func (r *Receiver) renewSlot(ctx context.Context, conn *Conn, reason string) (Slot, error) {
	name := r.options.Slot
	r.log.Error("the slot keeps no WAL any more, making it anew", "slot", name, "reason", reason)
	if err := conn.DropSlot(ctx, name); err != nil && !errors.Is(err, ErrSlotMissing) {
		return Slot{}, err
	}
	if err := conn.CreateSlot(ctx, name); err != nil && !errors.Is(err, ErrSlotExists) {
		return Slot{}, err
	}
	slot, err := conn.ReadSlot(ctx, name)
	if errors.Is(err, ErrUnsupported) {
		info, seen, sqlErr := r.slotInfo(ctx, conn.Host())
		r.slotSeen = true
		return r.ensureOldSlot(ctx, conn, info, seen, sqlErr)
	}
	return slot, err
}

// ensureOldSlot is ensureSlot before PostgreSQL 15, where only an ordinary connection tells what the slot keeps.
func (r *Receiver) ensureOldSlot(ctx context.Context, conn *Conn, info SlotInfo, seen bool, sqlErr error) (Slot, error) {
	slot := Slot{Name: r.options.Slot, Exists: true, RestartLSN: info.RestartLSN}
	if seen || r.slotSeen {
		return slot, nil
	}
	err := conn.CreateSlot(ctx, slot.Name)
	if err != nil && !errors.Is(err, ErrSlotExists) {
		return slot, err
	}
	r.slotSeen = true
	if errors.Is(err, ErrSlotExists) {
		r.log.Warn("can't see what the slot keeps without an ordinary connection", "slot", slot.Name, "error", sqlErr)
		return slot, nil
	}
	if info, ok, _ := r.slotInfo(ctx, conn.Host()); ok {
		slot.RestartLSN = info.RestartLSN
	}
	return slot, nil
}

// slotInfo reads our slot over an ordinary connection; ok is false if that can't be had, or the slot.
func (r *Receiver) slotInfo(ctx context.Context, host Host) (info SlotInfo, ok bool, err error) {
	sql, err := OpenSQL(ctx, r.options.Server, host)
	if err != nil {
		return info, false, err
	}
	defer func() { _ = sql.Close(context.WithoutCancel(ctx)) }()
	slots, err := sql.Slots(ctx)
	for _, s := range slots {
		if s.Name == r.options.Slot {
			return s, true, nil
		}
	}
	return info, false, err
}

// recordReader returns the record walk for a stream from start: that of the stream before, else one that has walked the
// segment before, so that the record that crosses into start is checked too.
func (r *Receiver) recordReader(ctx context.Context, p plan) *record.Reader {
	start := p.Start
	if r.boundary != nil && r.boundary.Position() == start {
		return r.boundary.Clone()
	}
	size, lineage := r.catalog.SegmentSize(), r.lane.Lineage()
	fresh := record.NewReader(r.catalog.SystemID(), lineage.Timeline, size, start)
	if size > maxWarmUp || start < segment.LSN(size) {
		return fresh
	}
	before, holder := start-segment.LSN(size), lineage
	if p.Parent != (segment.Lineage{}) {
		holder = p.Parent
	}
	raw, err := r.catalog.Segment(ctx, holder, segment.NameAt(holder.Timeline, before, size), nil)
	if err != nil {
		return fresh // the beginning of the archive, or behind a gap
	}
	warm := record.NewReader(r.catalog.SystemID(), lineage.Timeline, size, before)
	if warm.Check(raw) != nil {
		return fresh // archived as damaged
	}
	return warm
}

// maxWarmUp is the largest segment that is read again to check the one record that crosses into the next.
const maxWarmUp segment.Size = 64 << 20

// lost is called when the server no longer has the segment that the stream was to begin with: the range up to the first
// one it has becomes a Gap, and streaming goes on there.
func (r *Receiver) lost(ctx context.Context, s *Stream) error {
	if err := s.lane.WaitIdle(ctx); err != nil { // what was received is durable
		return err
	}
	from := max(s.mark.LSN(), s.start)
	if frontier, ok, err := r.catalog.Frontier(ctx, s.lane.Lineage()); err != nil {
		return err
	} else if ok {
		from = max(from, frontier)
	}
	to, err := r.firstAvailable(ctx, s)
	if err != nil {
		return err
	}
	if to <= from {
		return errors.New("the server could not find a segment that it has: trying again")
	}
	gap := catalog.Gap{
		Lineage: s.lane.Lineage(), From: from, To: to, Kind: catalog.GapLost, Detected: time.Now().UTC(),
		Reason: "the server had removed this WAL before it was archived",
	}
	if err := r.catalog.RecordGap(ctx, gap); err != nil {
		return err
	}
	r.settle = true // the next session asks for the Frontier, which is behind the gap now
	r.state.addGap(gap)
	r.log.Error("WAL is lost", "from", from.String(), "to", to.String(), "consequence", gap.String())
	return errGapRecorded
}

// errGapRecorded: go on at once behind the gap.
var errGapRecorded = errors.New("a gap was recorded")

// firstAvailable finds the first segment behind the stream's start that the server still has, by halving.
func (r *Receiver) firstAvailable(ctx context.Context, s *Stream) (segment.LSN, error) {
	conn, sys, err := r.connect(ctx)
	if err != nil {
		return 0, err
	}
	if err := conn.Close(ctx); err != nil {
		return 0, err
	}
	if sys.Timeline != s.timeline && s.end == 0 {
		return 0, fmt.Errorf("the server is on timeline %d now: beginning again", uint32(sys.Timeline))
	}
	// The last segment is the one with the last byte: nothing may be written yet, or ever on this timeline, behind that.
	last := sys.Flush - 1
	if s.end != 0 {
		last = s.end - 1 // what comes behind it is another timeline's
		if ok, err := r.available(ctx, s, s.size.Start(last)); err != nil {
			return 0, err
		} else if !ok {
			return s.end, nil
		}
	}
	missing, there := s.size.Number(s.start), s.size.Number(last)
	for there > missing+1 {
		middle := missing + (there-missing)/2
		ok, err := r.available(ctx, s, segment.LSN(uint64(middle)*uint64(s.size)))
		if err != nil {
			return 0, err
		}
		if ok {
			there = middle
		} else {
			missing = middle
		}
	}
	return segment.LSN(uint64(there) * uint64(s.size)), nil
}

// available asks the server for WAL at lsn, without the slot. There must be some behind it: a server that has nothing to send
// is silent.
func (r *Receiver) available(ctx context.Context, s *Stream, lsn segment.LSN) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, _, err := r.connect(ctx)
	if err != nil {
		return false, err
	}
	socket, err := conn.Hijack()
	if err != nil {
		return false, err
	}
	defer socket.Close()
	closer := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer closer()
	w := newWire(socket)
	if err := w.query(fmt.Sprintf("START_REPLICATION PHYSICAL %s TIMELINE %d", lsn, uint32(s.timeline))); err != nil {
		return false, err
	}
	_, err = w.awaitCopy()
	if err == nil {
		_, err = w.next()
	}
	if Classify(err) == ClassWALRemoved {
		return false, nil
	}
	return err == nil, err
}

// archiveDamaged records that the rest of a segment is archived as the server sends it, because of a record that came
// damaged twice.
func (r *Receiver) archiveDamaged(ctx context.Context, damage *record.DamageError, end segment.LSN) error {
	gap := catalog.Gap{
		Lineage: r.lane.Lineage(), From: damage.LSN, To: end,
		Kind: catalog.GapDamaged, Detected: time.Now().UTC(), Reason: damage.Reason,
	}
	if err := r.catalog.RecordGap(ctx, gap); err != nil {
		return err
	}
	r.damage = 0
	r.state.addGap(gap)
	r.log.Error("the server sent the same damaged record twice, archiving the rest of the segment as it is",
		"lsn", damage.LSN.String(), "reason", damage.Reason, "consequence", gap.String())
	return nil
}

// permanent makes an error that only a person can mend end the Receiver at its start.
func permanent(err error) error {
	var size *catalog.SegmentSizeError
	if storage.IsPermanent(err) || errors.As(err, &size) {
		return &FatalError{err}
	}
	return err
}
