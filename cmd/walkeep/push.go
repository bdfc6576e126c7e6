package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"walkeep/catalog"
	"walkeep/segment"
	"walkeep/storage"
)

type pushOptions struct {
	repo, systemID, lineage string
	wait                    time.Duration
	singleWriter            bool
	acceptGaps              bool
	json                    bool
}

func newPushCommand(env *environment) *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push --repo URL FILE...",
		Short: "Check and store WAL files: what archive_command may call, and how old archives come in",
		Long: `push checks WAL segments and timeline histories as receive does, and stores them. Beside receive it is safe:
whoever is second finds the same bytes. Missing WAL is healed by pushing the files that hold it.

A FILE may be a directory: the WAL files in it. Files may be compressed: .gz, .lz4. Exit code 0 means that
every file is stored, was there already with equal bytes, or is not needed (.backup, .partial).`,
		Example: `  archive_command = 'walkeep push --repo s3://backup/prod %p'
  walkeep push --repo s3://backup/prod /var/lib/old-archive
  walkeep push --repo s3://backup/prod 00000001000000A200000017.lz4`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runPush(cmd, env, o, args) },
	}
	addRepoFlag(cmd, &o.repo)
	addSystemIDFlag(cmd, &o.systemID)
	flags := cmd.Flags()
	flags.StringVar(&o.lineage, "lineage", "", "`LINEAGE` of the segments, where a timeline number has two histories")
	flags.DurationVar(&o.wait, "wait", time.Minute, "longest `TIME` that one file may take while storage does not answer")
	flags.BoolVar(&o.acceptGaps, "accept-gaps", false, "record as lost what is missing between the files, and behind the end of the archive")
	flags.BoolVar(&o.singleWriter, "single-writer", false, "promise that nobody else writes to the repository: for stores without conditional writes")
	addJSONFlag(cmd, &o.json)
	requireFlag(cmd, "repo")
	return cmd
}

func runPush(cmd *cobra.Command, env *environment, o pushOptions, args []string) error {
	id, err := parseSystemID(cmd, o.systemID)
	if err != nil {
		return err
	}
	p := &pusher{env: env, options: o, systemID: id, lineages: map[string]segment.Lineage{}}
	if o.lineage != "" {
		if p.chosen, err = segment.ParseLineage(o.lineage); err != nil {
			return usageErrorf(cmd, "--lineage: %s", err)
		}
	}
	files, err := findWALFiles(args)
	if err != nil {
		return err
	}
	p.report = newPushReport(env, o, len(files))
	err = p.run(cmd.Context(), files)
	return p.report.finish(err)
}

// A pusher checks and stores files.
type pusher struct {
	env      *environment
	options  pushOptions
	systemID uint64          // 0 if not given
	chosen   segment.Lineage // zero if not given

	catalog  *catalog.Catalog
	store    storage.Store
	lineages map[string]segment.Lineage // by directory and timeline, as asked
	report   *pushReport
}

func (p *pusher) run(ctx context.Context, files []walFile) error {
	files = p.skipUnneeded(files)
	if len(files) == 0 {
		return nil
	}
	opening, cancel := patience(ctx, p.options.wait)
	defer cancel()
	if err := p.open(opening, files); err != nil {
		return err
	}
	before, err := p.catalog.OpenGaps(opening)
	if err != nil {
		return err
	}
	for len(files) > 0 && files[0].kind == historyFile {
		if err := p.history(ctx, files[0]); err != nil {
			return err
		}
		files = files[1:]
	}
	if err := p.segments(ctx, files); err != nil {
		return err
	}
	closing, cancel := patience(ctx, p.options.wait)
	defer cancel()
	return p.settle(closing, before)
}

// skipUnneeded takes out what no restore asks for. archive_command must not stall on it.
func (p *pusher) skipUnneeded(files []walFile) []walFile {
	var needed []walFile
	for _, f := range files {
		if reason := f.unneeded(); reason != "" {
			p.report.add(pushResult{File: f.path, Name: f.name, Outcome: pushSkipped, Detail: reason})
			continue
		}
		needed = append(needed, f)
	}
	return needed
}

func (p *pusher) history(ctx context.Context, f walFile) error {
	ctx, cancel := patience(ctx, p.options.wait)
	defer cancel()
	result := pushResult{File: f.path, Name: f.name, Outcome: pushStored}
	content, err := f.read(maxHistory)
	if err == nil {
		err = checkHistory(f.timeline, content)
	}
	if err != nil {
		return p.refuse(result, err)
	}
	l, err := p.catalog.PutHistory(ctx, f.timeline, content)
	if err != nil {
		return p.refuse(result, err)
	}
	result.Lineage = l.String()
	all, err := p.catalog.Lineages(ctx, f.timeline)
	if err != nil {
		return err
	}
	if len(all) > 1 {
		result.Detail = fmt.Sprintf("timeline %d has %d histories now: %s; two servers were promoted: walkeep timeline list shows them",
			uint32(f.timeline), len(all), joinLineages(all))
	}
	p.report.add(result)
	return nil
}

// segments checks the files in order, and stores several at a time.
func (p *pusher) segments(ctx context.Context, files []walFile) error {
	puts, putting := errgroup.WithContext(ctx)
	puts.SetLimit(max(1, min(4, int(64<<20/p.catalog.SegmentSize()))))
	incoming := catalog.NewImport(p.catalog)
	var failed error
	for _, f := range files {
		if putting.Err() != nil {
			break
		}
		result := pushResult{File: f.path, Name: f.name, Outcome: pushStored}
		accepted, err := p.accept(putting, incoming, f)
		if err != nil {
			if failed = p.refuse(result, err); failed != nil {
				break
			}
			continue
		}
		result.Lineage, result.Unchecked = accepted.Lineage.String(), accepted.Unchecked
		puts.Go(func() error { return p.put(putting, incoming, accepted, result) })
	}
	return errors.Join(puts.Wait(), failed)
}

func (p *pusher) accept(ctx context.Context, incoming *catalog.Import, f walFile) (catalog.Accepted, error) {
	ctx, cancel := patience(ctx, p.options.wait)
	defer cancel()
	n, err := segment.ParseName(f.name, p.catalog.SegmentSize())
	if err != nil {
		return catalog.Accepted{}, &catalog.RejectedError{Name: f.name, Reason: err.Error()}
	}
	l, err := p.lineageOf(ctx, f)
	if err != nil {
		return catalog.Accepted{}, err
	}
	raw, err := f.read(int64(p.catalog.SegmentSize()))
	if err != nil {
		return catalog.Accepted{}, err
	}
	return incoming.Accept(ctx, l, n, raw)
}

func (p *pusher) put(ctx context.Context, incoming *catalog.Import, a catalog.Accepted, result pushResult) error {
	ctx, cancel := patience(ctx, p.options.wait)
	defer cancel()
	outcome, err := incoming.Put(ctx, a)
	var ahead *catalog.AheadError
	if errors.As(err, &ahead) && p.options.acceptGaps {
		if err = p.recordGap(ctx, a.Lineage, ahead.Frontier, a.Name.Start()); err == nil {
			outcome, err = incoming.Put(ctx, a)
		}
	}
	if err != nil {
		return p.refuse(result, err)
	}
	if outcome == catalog.OutcomePresent {
		result.Outcome = pushPresent
	}
	p.report.stored(result, a)
	return nil
}

// refuse notes that a file was not stored. It returns err if going on makes no sense: the next files would fare no better.
func (p *pusher) refuse(result pushResult, err error) error {
	var (
		rejected *catalog.RejectedError
		fork     *catalog.ForkError
		ahead    *catalog.AheadError
		unusable *fileError
	)
	switch {
	case errors.As(err, &ahead):
		err = fmt.Errorf("%w: push the WAL in between first, or let walkeep receive store it; if it is lost for good, --accept-gaps records that", err)
	case errors.As(err, &fork):
		result.Fork = true
	case errors.As(err, &rejected), errors.As(err, &unusable):
	default:
		return fmt.Errorf("%s: %w", result.Name, err)
	}
	result.Outcome, result.Detail = pushRefused, err.Error()
	p.report.add(result)
	return nil
}
