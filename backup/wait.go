package backup

import (
	"context"
	"fmt"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
)

// NotArchivedError: the WAL without which a backup is of no use is not in the repository, and does not come.
type NotArchivedError struct {
	WAL  catalog.BackupWAL
	Wait time.Duration // 0: it can't come any more
}

func (e *NotArchivedError) Error() string {
	if e.Wait == 0 {
		return fmt.Sprintf("the backup can't be restored: %s: take another one", e.WAL.Problem())
	}
	return fmt.Sprintf("the backup can't be restored: %s, and nobody archived any in %s: start walkeep receive, then take another one",
		e.WAL.Problem(), e.Wait)
}

// How often the repository is asked for the Frontier, at first and later.
const (
	minPoll = 250 * time.Millisecond
	maxPoll = 2 * time.Second
)

// awaitWAL waits until the archived WAL reaches to where the backup is consistent, as long as it keeps growing.
func (s *session) awaitWAL(ctx context.Context, b catalog.Backup) error {
	s.log.Info("base backup is stored, waiting for its WAL", "backup", b.ID.String(), "lsn", b.Stop.String())
	var frontier segment.LSN
	moved, said := time.Now(), false
	for delay := minPoll; ; delay = min(2*delay, maxPoll) {
		wal, err := s.catalog.BackupWAL(ctx, b.ID, b.Stop)
		switch {
		case err != nil:
			return err
		case wal.Complete():
			return nil
		case !wal.Late():
			return &NotArchivedError{WAL: wal}
		case wal.Frontier > frontier:
			frontier, moved = wal.Frontier, time.Now()
		case time.Since(moved) >= s.options.WALWait:
			return &NotArchivedError{WAL: wal, Wait: s.options.WALWait}
		case !said && time.Since(moved) > s.options.WALWait/4:
			said = true
			s.log.Warn("no WAL is being archived", "durable_lsn", wal.Frontier.String(), "needed_lsn", b.Stop.String())
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
