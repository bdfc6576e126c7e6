package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

// repositoryOptions are the flags of commands that ask, or note something in, the repository of one cluster.
type repositoryOptions struct {
	repo, systemID string
	wait           time.Duration
	json           bool
}

func (o *repositoryOptions) declare(cmd *cobra.Command) {
	addRepoFlag(cmd, &o.repo)
	addSystemIDFlag(cmd, &o.systemID)
	cmd.Flags().DurationVar(&o.wait, "wait", 2*time.Minute, "longest `TIME` to wait while storage does not answer")
	addJSONFlag(cmd, &o.json)
	requireFlag(cmd, "repo")
}

// open opens the catalog of an existing repository.
func (o *repositoryOptions) open(ctx context.Context, cmd *cobra.Command, env *environment) (*catalog.Catalog, error) {
	id, err := parseSystemID(cmd, o.systemID)
	if err != nil {
		return nil, err
	}
	store, err := env.openExisting(ctx, o.repo)
	if err != nil {
		return nil, err
	}
	return openCluster(ctx, storage.Retry(store, storage.RetryPolicy{}), id)
}

// A noteOptions is what a command takes that notes a decision for good.
type noteOptions struct {
	reason string
	apply  bool
}

func (o *noteOptions) declare(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.reason, "reason", "", "`TEXT` for those who ask later")
	cmd.Flags().BoolVar(&o.apply, "apply", false, "note it instead of only telling what it would mean")
	requireFlag(cmd, "reason")
}

func newGapCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gap",
		Short: "List WAL that is missing in the archive, and note that somebody knows of it",
		Long: `A gap is WAL that the server had removed before it was archived, or that arrived damaged. Point-in-time
recovery can't go through it. walkeep push heals a gap if the files turn up; a new base backup makes it matter
less.`,
	}
	cmd.AddCommand(newGapListCommand(env), newGapAckCommand(env))
	return cmd
}

func newGapListCommand(env *environment) *cobra.Command {
	var o repositoryOptions
	cmd := &cobra.Command{
		Use:     "list --repo URL",
		Short:   "List the gaps that are open, and what to do about each",
		Example: "  walkeep gap list --repo s3://backup/prod",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := patience(cmd.Context(), o.wait)
			defer cancel()
			c, err := o.open(ctx, cmd, env)
			if err != nil {
				return err
			}
			open, err := describeGaps(ctx, c)
			if err != nil {
				return err
			}
			if o.json {
				return env.printJSON(map[string]any{"gaps": open})
			}
			return printGaps(env.stdout, open)
		},
	}
	o.declare(cmd)
	return cmd
}

// A gapListing is an open gap and what to do about it.
type gapListing struct {
	catalog.OpenGap
	Advice string `json:"advice"`
}

func describeGaps(ctx context.Context, c *catalog.Catalog) ([]gapListing, error) {
	open, err := c.OpenGaps(ctx)
	if err != nil {
		return nil, err
	}
	all := []gapListing{}
	for _, g := range open {
		advice := "take a base backup now: point-in-time recovery is impossible from " + g.From.String() + " until one"
		if g.Kind == catalog.GapLost {
			first, last := segment.NameAt(g.Lineage.Timeline, g.From, c.SegmentSize()), segment.NameAt(g.Lineage.Timeline, g.To-1, c.SegmentSize())
			files := first.String()
			if first != last {
				files += " to " + last.String()
			}
			advice += "; if " + files + " turn up anywhere, walkeep push heals the gap"
		}
		if !g.Acknowledged {
			advice += fmt.Sprintf("; then walkeep gap ack %s %s..%s ends the alarm", g.Lineage, g.From, g.To)
		}
		all = append(all, gapListing{OpenGap: g, Advice: advice})
	}
	return all, nil
}

func printGaps(w io.Writer, open []gapListing) error {
	var b strings.Builder
	if len(open) == 0 {
		b.WriteString("No gaps: all WAL since the archive began is there.\n")
	}
	for _, g := range open {
		mark := ""
		if g.Acknowledged {
			mark = ", acknowledged"
		}
		fmt.Fprintf(&b, "%s %s..%s  %s%s, %s, noticed %s\n  %s\n  %s\n", g.Lineage, g.From, g.To, g.Kind, mark,
			byteSize(float64(g.To-g.From)), g.Detected.UTC().Format(time.RFC3339), plain(g.Reason), g.Advice)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func newGapAckCommand(env *environment) *cobra.Command {
	var (
		o    repositoryOptions
		note noteOptions
	)
	cmd := &cobra.Command{
		Use:   "ack --repo URL (LINEAGE FROM..TO | all) --reason TEXT [--apply]",
		Short: "Note that somebody knows of a gap: it is no alarm any more",
		Long: `Tells what acknowledging a gap means, and notes it with --apply. The WAL stays lost, and restores still can't go
through the gap. It can't be taken back.`,
		Example: `  walkeep gap ack --repo s3://backup/prod 00000001-00000000 0/5000000..0/7000000 --reason 'new backup taken' --apply
  walkeep gap ack --repo s3://backup/prod all --reason 'new backup taken' --apply`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			choose, err := parseGapChoice(cmd, args)
			if err != nil {
				return err
			}
			ctx, cancel := patience(cmd.Context(), o.wait)
			defer cancel()
			c, err := o.open(ctx, cmd, env)
			if err != nil {
				return err
			}
			chosen, err := acknowledge(ctx, c, choose, note)
			if err != nil {
				return err
			}
			if o.json {
				return env.printJSON(map[string]any{"applied": note.apply, "gaps": chosen})
			}
			return printAcknowledged(env.stdout, chosen, note.apply)
		},
	}
	o.declare(cmd)
	note.declare(cmd)
	return cmd
}

// parseGapChoice turns the arguments into a choice among the open gaps.
func parseGapChoice(cmd *cobra.Command, args []string) (func(catalog.OpenGap) bool, error) {
	if len(args) == 1 {
		if args[0] != "all" {
			return nil, usageErrorf(cmd, "want LINEAGE FROM..TO, or all: walkeep gap list shows them")
		}
		return func(catalog.OpenGap) bool { return true }, nil
	}
	l, err := segment.ParseLineage(args[0])
	if err != nil {
		return nil, usageErrorf(cmd, "%s", err)
	}
	first, last, ok := strings.Cut(args[1], "..")
	from, err1 := segment.ParseLSN(first)
	to, err2 := segment.ParseLSN(last)
	if !ok || err1 != nil || err2 != nil || from >= to {
		return nil, usageErrorf(cmd, "%q is not of the form 0/5000000..0/7000000", args[1])
	}
	return func(g catalog.OpenGap) bool { return g.Lineage == l && from <= g.From && g.To <= to }, nil
}

// acknowledge notes, if applied, that the chosen gaps are known. It returns them.
func acknowledge(ctx context.Context, c *catalog.Catalog, choose func(catalog.OpenGap) bool, note noteOptions) ([]catalog.OpenGap, error) {
	open, err := c.OpenGaps(ctx)
	if err != nil {
		return nil, err
	}
	chosen, known := []catalog.OpenGap{}, false
	for _, g := range open {
		switch {
		case !choose(g):
			continue
		case g.Acknowledged:
			known = true
			continue
		}
		if note.apply {
			if err := c.AcknowledgeGap(ctx, g.Gap, note.reason, time.Now()); err != nil {
				return nil, err
			}
			g.Acknowledged = true
		}
		chosen = append(chosen, g)
	}
	if len(chosen) == 0 && !known {
		return nil, withHint(errors.New("no open gap lies in that range"), "walkeep gap list shows the open ones")
	}
	return chosen, nil
}

func printAcknowledged(w io.Writer, chosen []catalog.OpenGap, applied bool) error {
	var b strings.Builder
	for _, g := range chosen {
		fmt.Fprintf(&b, "%s %s..%s (%s)\n", g.Lineage, g.From, g.To, g.Kind)
	}
	switch {
	case len(chosen) == 0:
		b.WriteString("these gaps were acknowledged before\n")
	case applied:
		b.WriteString("acknowledged: receivers stop the alarm within seconds. The WAL stays lost; restores can't go through it\n")
	default:
		b.WriteString("would be no alarm any more; the WAL stays lost, restores can't go through it, and this can't be taken back\n" +
			"nothing was changed: add --apply\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
