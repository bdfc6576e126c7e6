package catalog

import (
	"context"

	"github.com/cespare/xxhash/v2"

	"walkeep/segment"
)

// TailPiece is one object of a tail: a link or a roll-up, and what it states.
type TailPiece struct {
	Key       Key
	Statement segment.Statement
}

// TailPieces returns the objects that together hold the tail of segment n, in no order; none if there is no tail.
// IsBrokenTail(err): somebody is deleting it, ask again. IsDamaged(err): a piece can't be read, and not all are returned.
func (c *Catalog) TailPieces(ctx context.Context, l segment.Lineage, n segment.Name) ([]TailPiece, error) {
	var all []TailPiece
	_, err := c.pieces(ctx, l, n, int(c.size), func(p piece) error {
		all = append(all, TailPiece{p.key, p.statement})
		return nil
	})
	return all, err
}

// Compare compares the piece with our bytes: raw begins at start and reaches at least to the end of the piece. *ForkError if
// they differ.
func (p TailPiece) Compare(start segment.LSN, raw []byte) error {
	s := p.Statement
	ours := raw[s.From-start : s.To-start]
	if xxhash.Sum64(ours) == s.Hash {
		return nil
	}
	return &ForkError{Key: p.Key, Stored: s, Ours: segment.NewStatement(s.SystemID, s.Lineage, s.From, ours)}
}
