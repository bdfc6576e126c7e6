package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
)

// backupListing is what list shows of a backup.
type backupListing struct {
	ID         segment.BackupID     `json:"id"`
	Finished   time.Time            `json:"finished_at"`
	Timeline   segment.Timeline     `json:"timeline"`
	Lineage    segment.Lineage      `json:"lineage"`
	Start      segment.LSN          `json:"start_lsn"`
	Stop       segment.LSN          `json:"stop_lsn"`
	Size       int64                `json:"size"`
	Stored     int64                `json:"stored"`
	Source     catalog.BackupSource `json:"source"`
	Label      string               `json:"label"`
	Restorable bool                 `json:"restorable"`
	Problem    string               `json:"problem,omitempty"`
}

// gatherBackups describes the backups of a cluster, and whether their WAL is there.
func gatherBackups(ctx context.Context, c *catalog.Catalog) ([]backupListing, error) {
	all, err := c.Backups(ctx)
	if err != nil {
		return nil, err
	}
	list := []backupListing{}
	for _, b := range all {
		wal, err := c.BackupWAL(ctx, b.ID, b.Stop)
		if err != nil {
			return nil, err
		}
		list = append(list, backupListing{
			ID: b.ID, Finished: b.Finished, Timeline: b.Timeline, Lineage: b.ID.Lineage, Start: b.Start, Stop: b.Stop,
			Size: b.DataBytes, Stored: b.Stored(), Source: b.Source, Label: b.Label,
			Restorable: wal.Complete(), Problem: wal.Problem(),
		})
	}
	return list, nil
}

// printBackups writes the list for people.
func printBackups(w io.Writer, backups []backupListing) error {
	if len(backups) == 0 {
		_, err := fmt.Fprintln(w, "  no base backup: walkeep backup takes one")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  BACKUP\tFINISHED\tTIMELINE\tFROM\tTO\tSIZE\tSTORED\tOF\tRESTORABLE")
	for _, b := range backups {
		restorable := "yes"
		if !b.Restorable {
			restorable = "NO: " + b.Problem
		}
		fmt.Fprintf(table, "  %s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", b.ID, b.Finished.Format(time.RFC3339), b.Timeline, b.Start, b.Stop,
			byteSize(float64(b.Size)), byteSize(float64(b.Stored)), b.Source, restorable)
	}
	return table.Flush()
}
