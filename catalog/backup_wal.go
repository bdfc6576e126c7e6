package catalog

import (
	"context"
	"fmt"

	"walkeep/segment"
)

// A BackupWAL says whether the archive holds the WAL without which a backup is of no use: from the segment where its
// recovery begins to where it is consistent.
type BackupWAL struct {
	Start, Stop segment.LSN // what is needed, from the beginning of a segment on
	Started     bool        // WAL of the lineage is, or was, being archived
	Begin       segment.LSN // where the archived WAL of the lineage begins
	Frontier    segment.LSN // up to where it is contiguous and durable
	Gaps        []Gap       // that the backup can't be recovered through
}

// Complete reports whether the backup can be recovered.
func (w BackupWAL) Complete() bool { return w.Problem() == "" }

// Late reports whether what is missing may still come.
func (w BackupWAL) Late() bool { return !w.Started || w.Begin <= w.Start && w.Frontier < w.Stop }

// Problem says what is missing, "" if nothing is.
func (w BackupWAL) Problem() string {
	switch {
	case !w.Started:
		return "no WAL of its lineage is archived"
	case w.Begin > w.Start:
		return fmt.Sprintf("the archived WAL begins at %s, behind its start %s", w.Begin, w.Start)
	case w.Frontier < w.Stop:
		return fmt.Sprintf("WAL is archived up to %s only, before its end %s", w.Frontier, w.Stop)
	case len(w.Gaps) > 0:
		return fmt.Sprintf("WAL [%s, %s) is %s", w.Gaps[0].From, w.Gaps[0].To, w.Gaps[0].Kind)
	}
	return ""
}

// BackupWAL looks for the WAL that a backup of lineage id.Lineage needs up to stop. A dozen LISTs at most.
func (c *Catalog) BackupWAL(ctx context.Context, id segment.BackupID, stop segment.LSN) (BackupWAL, error) {
	w := BackupWAL{Stop: stop, Start: c.size.Start(id.Start)}
	begin, ok, err := c.Started(ctx, id.Lineage)
	if err != nil || !ok {
		return w, err
	}
	w.Started, w.Begin = true, begin
	if w.Frontier, _, err = c.Frontier(ctx, id.Lineage); err != nil {
		return w, err
	}
	gaps, err := c.OpenGaps(ctx)
	if err != nil {
		return w, err
	}
	for _, g := range gaps {
		if g.Lineage == id.Lineage && g.Kind != GapAncestry && g.From < stop && g.To > w.Start {
			w.Gaps = append(w.Gaps, g.Gap)
		}
	}
	return w, nil
}
