package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// GapKind says what is wrong with a range of WAL.
type GapKind string

// Kinds of gaps.
const (
	GapLost     GapKind = "lost"     // the server had removed the WAL before it was archived
	GapDamaged  GapKind = "damaged"  // archived as received, but a record in it is bad
	GapAncestry GapKind = "ancestry" // a timeline history could not be had
)

// breaks reports whether the WAL of such a gap is missing.
func (k GapKind) breaks() bool { return k == GapLost }

func (k GapKind) valid() bool { return k == GapLost || k == GapDamaged || k == GapAncestry }

// Gap says that the WAL [From, To) of a lineage can't be recovered through, and why. It is written once. To restore to
// a point behind it a base backup is needed that was taken behind it.
type Gap struct {
	Lineage  segment.Lineage `json:"lineage"`
	From     segment.LSN     `json:"from"`
	To       segment.LSN     `json:"to"`
	Kind     GapKind         `json:"kind"`
	Reason   string          `json:"reason"`
	Detected time.Time       `json:"detected_at"`
}

// String says the consequence and the next step.
func (g Gap) String() string {
	return fmt.Sprintf("WAL [%s, %s) of %s is %s (%s): point-in-time recovery is impossible from %s until the next base backup: take one now",
		g.From, g.To, g.Lineage, g.Kind, g.Reason, g.From)
}

// RecordGap writes the gap; one of the same kind that is there already with the same ends is success.
func (c *Catalog) RecordGap(ctx context.Context, g Gap) error {
	if g.From >= g.To || !g.Kind.valid() {
		return fmt.Errorf("record gap [%s, %s) of kind %q: not a gap", g.From, g.To, g.Kind)
	}
	data, err := json.Marshal(struct {
		Format int `json:"format"`
		Gap
	}{1, g})
	if err != nil {
		return err
	}
	key := c.keys.gap(g.Lineage, g.From, g.To)
	err = c.store.Put(ctx, key, data)
	if errors.Is(err, storage.ErrExists) {
		return c.settleGap(ctx, key, g)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// settleGap is called when there is a gap with the same ends. If it is of another kind, ours is recorded in two parts beside it.
func (c *Catalog) settleGap(ctx context.Context, key Key, g Gap) error {
	there, err := c.readGap(ctx, key)
	if err != nil || there.Kind == g.Kind || g.To-g.From < 2 {
		return err
	}
	first, second := g, g
	first.To = g.From + (g.To-g.From)/2
	second.From = first.To
	return errors.Join(c.RecordGap(ctx, first), c.RecordGap(ctx, second))
}

// recordedGaps returns the gaps of a lineage in order of their beginning, as they were recorded.
func (c *Catalog) recordedGaps(ctx context.Context, l segment.Lineage) ([]Gap, error) {
	return c.gapsBelow(ctx, c.keys.gaps(l))
}

// Gaps returns all recorded gaps of the cluster, in order of lineage and beginning.
func (c *Catalog) Gaps(ctx context.Context) ([]Gap, error) {
	return c.gapsBelow(ctx, c.keys.under("gap"))
}

func (c *Catalog) gapsBelow(ctx context.Context, prefix string) ([]Gap, error) {
	var all []Gap
	for object, err := range c.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		if !strings.HasSuffix(object.Key, ".json") {
			return nil, fmt.Errorf("object %q has no place here", object.Key)
		}
		g, err := c.readGap(ctx, object.Key)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

func (c *Catalog) readGap(ctx context.Context, key Key) (Gap, error) {
	data, err := c.store.Get(ctx, key, nil)
	if err != nil {
		return Gap{}, fmt.Errorf("get %s: %w", key, err)
	}
	var g Gap
	if err := json.Unmarshal(data, &g); err != nil {
		return Gap{}, fmt.Errorf("%s: %w", key, err)
	}
	if c.keys.gap(g.Lineage, g.From, g.To) != key || !g.Kind.valid() || g.From >= g.To {
		return Gap{}, fmt.Errorf("%s describes another gap than its name", key)
	}
	return g, nil
}
