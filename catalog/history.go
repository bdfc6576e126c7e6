package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"walkeep/segment"
	"walkeep/storage"
)

// History is a timeline history file that the repository holds.
type History struct {
	Lineage segment.Lineage
	Content []byte // as the server sent it; nil for timeline 1
}

// PutHistory stores the history of a timeline other than 1. Success if it is there already: its key is derived from its
// content.
func (c *Catalog) PutHistory(ctx context.Context, t segment.Timeline, content []byte) (segment.Lineage, error) {
	l, err := segment.NewLineage(t, content)
	if err != nil {
		return l, err
	}
	if t == 1 {
		return l, nil
	}
	if _, err := segment.ParseHistory(content); err != nil {
		return l, fmt.Errorf("history of timeline %d: %w", t, err)
	}
	if err := c.store.Put(ctx, c.keys.history(l), content); err != nil && !errors.Is(err, storage.ErrExists) {
		return l, fmt.Errorf("put history %s: %w", l, err)
	}
	return l, nil
}

// Lineages returns the lineages that have the timeline number t and a history in the repository; more than one after
// two promotions that chose the same number. For timeline 1, which has no history, the one lineage it can have.
func (c *Catalog) Lineages(ctx context.Context, t segment.Timeline) ([]segment.Lineage, error) {
	if t == 1 {
		return []segment.Lineage{{Timeline: 1}}, nil
	}
	return c.lineagesBelow(ctx, c.keys.under("timeline")+t.String()+"-")
}

// AllLineages returns every lineage with a history in the repository, and that of timeline 1 first.
func (c *Catalog) AllLineages(ctx context.Context) ([]segment.Lineage, error) {
	all, err := c.lineagesBelow(ctx, c.keys.under("timeline"))
	return append([]segment.Lineage{{Timeline: 1}}, all...), err
}

func (c *Catalog) lineagesBelow(ctx context.Context, prefix string) ([]segment.Lineage, error) {
	var all []segment.Lineage
	for object, err := range c.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		s, _ := strings.CutPrefix(object.Key, c.keys.under("timeline"))
		s, ok := strings.CutSuffix(s, ".history")
		l, err := segment.ParseLineage(s)
		if err != nil || !ok {
			return nil, fmt.Errorf("object %q has no place here", object.Key)
		}
		all = append(all, l)
	}
	return all, nil
}

// History reads the history file of a lineage. storage.ErrNotFound if there is none. A file that is not the one its name
// says is an error.
func (c *Catalog) History(ctx context.Context, l segment.Lineage) (History, error) {
	if l.Timeline == 1 {
		return History{Lineage: l}, nil
	}
	key := c.keys.history(l)
	content, err := c.store.Get(ctx, key, nil)
	if err != nil {
		return History{}, fmt.Errorf("get %s: %w", key, err)
	}
	if got, err := segment.NewLineage(l.Timeline, content); err != nil || got != l {
		return History{}, fmt.Errorf("%s: %w: its content has another hash", key, segment.ErrDamaged)
	}
	return History{Lineage: l, Content: content}, nil
}
