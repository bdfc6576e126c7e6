package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"walkeep/catalog"
	"walkeep/segment"
)

func newTimelineCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "timeline",
		Short: "Show how the archived timelines branch off, and give up one that is wrong",
		Long: `Each promotion begins a new timeline. Two servers promoted by mistake can begin two with one number: walkeep
archives both side by side, as lineages, until one is given up.`,
	}
	cmd.AddCommand(newTimelineListCommand(env), newTimelineAbandonCommand(env))
	return cmd
}

func newTimelineListCommand(env *environment) *cobra.Command {
	var o repositoryOptions
	cmd := &cobra.Command{
		Use:     "list --repo URL",
		Short:   "Show the tree of lineages: where each began, and what of it is archived",
		Example: "  walkeep timeline list --repo s3://backup/prod",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := patience(cmd.Context(), o.wait)
			defer cancel()
			c, err := o.open(ctx, cmd, env)
			if err != nil {
				return err
			}
			all, err := gatherLineages(ctx, c)
			if err != nil {
				return err
			}
			if o.json {
				return env.printJSON(map[string]any{"timelines": all})
			}
			v := timelineTree{all: all, colour: env.isTerminal(env.stdout) && env.getenv("NO_COLOR") == ""}
			_, err = env.stdout.Write([]byte(v.render()))
			return err
		},
	}
	o.declare(cmd)
	return cmd
}

// A lineageListing is one lineage of the tree.
type lineageListing struct {
	Timeline  segment.Timeline  `json:"timeline"`
	Lineage   segment.Lineage   `json:"lineage"`
	Parent    *segment.Lineage  `json:"parent"` // null for timeline 1, and if its history is not archived
	Switch    segment.LSN       `json:"switch"` // where it branched off, "0/0" for timeline 1
	Archived  bool              `json:"archived"`
	From      segment.LSN       `json:"from"`
	To        segment.LSN       `json:"to"`
	Abandoned bool              `json:"abandoned"`
	Rivals    []segment.Lineage `json:"rivals"` // of the same number, not abandoned
	// BeyondFork is how many bytes of the parent are archived behind the switch point. They are no part of this lineage.
	BeyondFork uint64 `json:"beyond_fork"`
}

// gatherLineages returns every lineage with a history in the repository, in order of timeline.
func gatherLineages(ctx context.Context, c *catalog.Catalog) ([]lineageListing, error) {
	lineages, err := c.AllLineages(ctx)
	if err != nil {
		return nil, err
	}
	branches, err := c.Branches(ctx)
	if err != nil {
		return nil, err
	}
	archived := map[segment.Lineage]catalog.Branch{}
	for _, b := range branches {
		archived[b.Lineage] = b
	}
	all := make([]lineageListing, 0, len(lineages))
	for _, l := range lineages {
		entry := lineageListing{Timeline: l.Timeline, Lineage: l, Rivals: []segment.Lineage{}}
		b, ok := archived[l]
		entry.Archived, entry.From, entry.To = ok, b.Begin, b.Frontier
		if entry.Abandoned, err = c.Abandoned(ctx, l); err != nil {
			return nil, err
		}
		parent, forked, err := c.Parent(ctx, l)
		if err != nil {
			return nil, err
		}
		if forked {
			entry.Switch = parent.Switch
		}
		if p := parent.Lineage; p.Timeline != 0 {
			entry.Parent = &p
			if end := archived[p].Frontier; end > parent.Switch {
				entry.BeyondFork = uint64(end - parent.Switch)
			}
		}
		all = append(all, entry)
	}
	markRivals(all)
	return all, nil
}

// markRivals finds lineages of one number that nobody has given up.
func markRivals(all []lineageListing) {
	for i := range all {
		for _, other := range all {
			if other.Timeline == all[i].Timeline && other.Lineage != all[i].Lineage && !other.Abandoned && !all[i].Abandoned {
				all[i].Rivals = append(all[i].Rivals, other.Lineage)
			}
		}
	}
}

func newTimelineAbandonCommand(env *environment) *cobra.Command {
	var (
		o    repositoryOptions
		note noteOptions
	)
	cmd := &cobra.Command{
		Use:   "abandon --repo URL LINEAGE --reason TEXT [--apply]",
		Short: "Give up a lineage: a promotion by mistake, or the loser of two",
		Long: `Tells what giving up a lineage means, and notes it with --apply. Its WAL stays. Receivers don't take it for the
newest state of the cluster any more, and follow what is left. It can't be taken back.`,
		Example: "  walkeep timeline abandon --repo s3://backup/prod 00000002-5f3a91c0 --reason 'promoted by mistake' --apply",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := segment.ParseLineage(args[0])
			if err != nil {
				return usageErrorf(cmd, "%s", err)
			}
			ctx, cancel := patience(cmd.Context(), o.wait)
			defer cancel()
			c, err := o.open(ctx, cmd, env)
			if err != nil {
				return err
			}
			plan, err := planAbandon(ctx, c, l)
			if err != nil {
				return err
			}
			if note.apply {
				if err := c.Abandon(ctx, l, note.reason, time.Now()); err != nil {
					return err
				}
				plan.Abandoned = true
			}
			if o.json {
				return env.printJSON(map[string]any{"applied": note.apply, "timeline": plan})
			}
			_, err = env.stdout.Write([]byte(plan.abandonText(note.apply)))
			return err
		},
	}
	o.declare(cmd)
	note.declare(cmd)
	return cmd
}

// An abandonPlan is a lineage to be given up, and what that touches.
type abandonPlan struct {
	lineageListing
	Descendants []segment.Lineage `json:"descendants"` // not abandoned themselves
}

func planAbandon(ctx context.Context, c *catalog.Catalog, l segment.Lineage) (abandonPlan, error) {
	all, err := gatherLineages(ctx, c)
	if err != nil {
		return abandonPlan{}, err
	}
	plan, found := abandonPlan{Descendants: []segment.Lineage{}}, false
	left := 0
	for _, entry := range all {
		switch {
		case entry.Lineage == l:
			plan.lineageListing, found = entry, true
		case entry.Archived && !entry.Abandoned:
			left++
		}
		if entry.Parent != nil && *entry.Parent == l && !entry.Abandoned {
			plan.Descendants = append(plan.Descendants, entry.Lineage)
		}
	}
	switch {
	case !found:
		return plan, withHint(fmt.Errorf("the repository knows no lineage %s", l), "walkeep timeline list shows them")
	case left == 0 && !plan.Abandoned:
		return plan, errors.New(l.String() + " is the only lineage that is left: giving it up would leave nothing to restore or to follow")
	}
	return plan, nil
}

func (p abandonPlan) abandonText(applied bool) string {
	text := fmt.Sprintf("%s, timeline %d", p.Lineage, uint32(p.Timeline))
	if p.Archived {
		text += fmt.Sprintf(", WAL %s to %s", p.From, p.To)
	}
	text += "\n"
	if len(p.Descendants) > 0 {
		text += "still followed, since they are lineages of their own: " + joinLineages(p.Descendants) + "\n"
	}
	if len(p.Rivals) > 0 {
		text += "left of the same number: " + joinLineages(p.Rivals) + "\n"
	}
	if applied {
		return text + "abandoned: receivers follow what is left when they connect the next time. The WAL stays\n"
	}
	return text + "would not be followed any more; its WAL stays, and this can't be taken back\nnothing was changed: add --apply\n"
}
