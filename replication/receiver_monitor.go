package replication

import (
	"context"
	"time"

	"walkeep/catalog"
)

// monitorInterval is how often the server and the repository are asked for what the stream doesn't tell.
const monitorInterval = 10 * time.Second

// monitor keeps up to date what the stream doesn't tell: the slot, whether commits wait for us, the recorded gaps. Nothing
// waits for it, and nothing but the pace of links depends on it.
func (r *Receiver) monitor(ctx context.Context) {
	for tick := time.NewTicker(monitorInterval); ; {
		r.look(ctx)
		select {
		case <-tick.C:
		case <-r.state.attached:
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

func (r *Receiver) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, monitorInterval)
	defer cancel()
	c, host, stream := r.state.targets()
	if c != nil {
		r.lookAtNotes(ctx, c)
	}
	if host == (Host{}) {
		return // there was no server yet
	}
	if stream != nil {
		r.state.measureRate(time.Now())
		r.guard(ctx, host, stream)
	}
	names, err := r.askServer(ctx, host, stream)
	if err != nil {
		return // the stream itself notices when the server is away
	}
	if standbys, err := ParseSyncStandbys(names); err == nil && stream != nil {
		name := r.options.Server.ApplicationName
		if stream.setSynchronous(standbys.Matches(name)) {
			r.log.Info("synchronous_standby_names has changed", "synchronous", standbys.Matches(name))
		}
		r.state.setSynchronous(standbys.Matches(name), standbys.Requires(name))
	}
}

// lookAtNotes asks the repository what was decided and healed meanwhile, by push, gap ack and timeline abandon.
func (r *Receiver) lookAtNotes(ctx context.Context, c *catalog.Catalog) {
	if gaps, err := c.OpenGaps(ctx); err == nil {
		r.state.setGaps(gaps)
	}
	for _, l := range r.state.rivals() {
		if abandoned, err := c.Abandoned(ctx, l); err == nil && abandoned {
			r.state.dropRival(l)
			r.log.Info("a rival was abandoned", "lineage", l.String())
		}
	}
}

// askServer reads the slot and synchronous_standby_names over an ordinary connection, or the latter alone over a
// replication connection where the role has no other. The connection is a new one each time: one that stays would keep a smart
// shutdown of the server waiting.
func (r *Receiver) askServer(ctx context.Context, host Host, stream *Stream) (names string, err error) {
	sql, err := OpenSQL(ctx, r.options.Server, host)
	if err != nil {
		r.state.setSlot(SlotInfo{}, false)
		conn, err := Connect(ctx, r.options.Server, host)
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		return conn.Show(ctx, "synchronous_standby_names")
	}
	defer func() { _ = sql.Close(context.WithoutCancel(ctx)) }()
	slots, err := sql.Slots(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range slots {
		if s.Name == r.options.Slot {
			r.state.setSlot(s, true)
			if s.Lost() && stream != nil {
				stream.abort(errSlotLost)
			}
		}
	}
	return sql.Setting(ctx, "synchronous_standby_names")
}

// targets returns what monitor looks at; stream is nil while there is none.
func (s *receiverState) targets() (c *catalog.Catalog, host Host, stream *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catalog, s.status.Host, s.stream
}

func (s *receiverState) setSynchronous(synchronous, only bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Synchronous, s.status.SynchronousOnly = synchronous, only
}
