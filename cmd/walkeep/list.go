package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

type listOptions struct {
	repo, systemID string
	wait           time.Duration
	json           bool
}

func newListCommand(env *environment) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show what the repository holds: clusters, timelines, WAL ranges, backups, gaps",
		Example: `  walkeep list --repo s3://backup/prod
  walkeep list --repo file:///srv/wal --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runList(cmd.Context(), cmd, env, o) },
	}
	addRepoFlag(cmd, &o.repo)
	addSystemIDFlag(cmd, &o.systemID)
	cmd.Flags().DurationVar(&o.wait, "wait", 2*time.Minute, "how long to try while storage does not answer")
	addJSONFlag(cmd, &o.json)
	requireFlag(cmd, "repo")
	return cmd
}

// listing is what list prints.
type listing struct {
	Repo     string           `json:"repo"`
	Clusters []clusterListing `json:"clusters"`
}

type clusterListing struct {
	SystemID    string            `json:"system_id"`
	SegmentSize segment.Size      `json:"wal_segment_size"`
	Created     time.Time         `json:"created"`
	Timelines   []timelineListing `json:"timelines"`
	Backups     []backupListing   `json:"backups"`
	Gaps        []catalog.OpenGap `json:"gaps"` // that are open
}

type timelineListing struct {
	Timeline segment.Timeline `json:"timeline"`
	Lineage  segment.Lineage  `json:"lineage"`
	From     segment.LSN      `json:"from"` // first archived byte
	To       segment.LSN      `json:"to"`   // end of contiguous durable WAL
	// Abandoned: an operator has given this lineage up.
	Abandoned bool `json:"abandoned"`
}

func runList(ctx context.Context, cmd *cobra.Command, env *environment, o listOptions) error {
	ctx, cancel := patience(ctx, o.wait)
	defer cancel()
	want, err := parseSystemID(cmd, o.systemID)
	if err != nil {
		return err
	}
	store, err := env.openExisting(ctx, o.repo)
	if err != nil {
		return err
	}
	l, err := gatherListing(ctx, storage.Retry(store, storage.RetryPolicy{Observe: newUploadWatch(env.logger).observe}), want)
	if err != nil {
		return err
	}
	l.Repo = withoutSecrets(o.repo)
	if o.json {
		return env.printJSON(l)
	}
	return l.print(env.stdout)
}

func gatherListing(ctx context.Context, store storage.Store, want uint64) (listing, error) {
	l := listing{Clusters: []clusterListing{}}
	all, err := catalog.Clusters(ctx, store)
	if err != nil {
		return l, err
	}
	for _, id := range all {
		if want != 0 && id.SystemID != fmt.Sprint(want) {
			continue
		}
		cluster, err := gatherCluster(ctx, store, id)
		if err != nil {
			return l, err
		}
		l.Clusters = append(l.Clusters, cluster)
	}
	if want != 0 && len(l.Clusters) == 0 {
		return l, fmt.Errorf("system identifier %d: %w", want, catalog.ErrNoCluster)
	}
	return l, nil
}

func gatherCluster(ctx context.Context, store storage.Store, id catalog.Identity) (clusterListing, error) {
	l := clusterListing{SystemID: id.SystemID, SegmentSize: id.SegmentSize, Created: id.Created, Timelines: []timelineListing{}}
	c, err := catalog.OpenIdentity(store, id)
	if err != nil {
		return l, err
	}
	if l.Gaps, err = c.OpenGaps(ctx); err != nil {
		return l, err
	}
	if l.Gaps == nil {
		l.Gaps = []catalog.OpenGap{}
	}
	if l.Backups, err = gatherBackups(ctx, c); err != nil {
		return l, err
	}
	branches, err := c.Branches(ctx)
	if err != nil {
		return l, err
	}
	for _, b := range branches {
		l.Timelines = append(l.Timelines, timelineListing{
			Timeline: b.Lineage.Timeline, Lineage: b.Lineage, From: b.Begin, To: b.Frontier, Abandoned: b.Abandoned,
		})
	}
	return l, nil
}

// print writes the listing for people.
func (l listing) print(w io.Writer) error {
	var failed error
	say := func(format string, args ...any) {
		_, err := fmt.Fprintf(w, format, args...)
		failed = errors.Join(failed, err)
	}
	if len(l.Clusters) == 0 {
		say("The repository is empty: walkeep receive fills it.\n")
	}
	for i, c := range l.Clusters {
		if i > 0 {
			say("\n")
		}
		say("Cluster %s, wal_segment_size %d MB, archived since %s\n", c.SystemID, c.SegmentSize>>20, c.Created.Format(time.RFC3339))
		if len(c.Timelines) == 0 {
			say("  no WAL yet\n")
			continue
		}
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "  TIMELINE\tWAL FROM\tTO\tSIZE\tLINEAGE")
		for _, t := range c.Timelines {
			mark := ""
			if t.Abandoned {
				mark = " (abandoned)"
			}
			fmt.Fprintf(table, "  %d\t%s\t%s\t%s\t%s%s\n", t.Timeline, t.From, t.To, byteSize(float64(t.To-t.From)), t.Lineage, mark)
		}
		failed = errors.Join(failed, table.Flush(), printBackups(w, c.Backups))
		for _, g := range c.Gaps {
			if g.Acknowledged {
				say("  gap, acknowledged: WAL [%s, %s) of %s is %s\n", g.From, g.To, g.Lineage, g.Kind)
			} else {
				say("  GAP: %s\n", plain(g.String()))
			}
		}
	}
	return failed
}
