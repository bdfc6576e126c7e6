package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"walkeep/catalog"
	"walkeep/restore"
	"walkeep/storage"
)

type fetchOptions struct {
	repo, systemID string
	wait           time.Duration
}

func newFetchCommand(env *environment) *cobra.Command {
	var o fetchOptions
	cmd := &cobra.Command{
		Use:   "fetch [flags] FILE TARGET",
		Short: "Hand one WAL file to PostgreSQL: what restore_command calls",
		Long: `fetch writes the WAL segment or timeline history FILE to TARGET. PostgreSQL calls it, in its data directory.

Exit codes: 0 found, 1 proven not to be in the archive, 200 anything else: PostgreSQL takes 1 for the end of
the archive and opens the database, and stops on 200. In a standby's data directory problems give 1 too: a
standby only asks again.`,
		Example: `  restore_command = 'walkeep fetch --repo s3://backup/prod %f %p || exit $(( $? == 1 ? 1 : 200 ))'`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFetch(cmd.Context(), cmd, env, o, args[0], args[1])
		},
	}
	addRepoFlag(cmd, &o.repo)
	addSystemIDFlag(cmd, &o.systemID)
	cmd.Flags().DurationVar(&o.wait, "wait", 5*time.Minute, "how long to try again while storage does not answer")
	requireFlag(cmd, "repo")
	return cmd
}

// absentError says that a file is proven absent: the only error of fetch that gives exit code 1 outside a standby.
type absentError struct{ proof restore.Absence }

func (e *absentError) Error() string { return e.proof.String() }

// standbyError is any problem of a standby, which asks again after exit code 1 and stops on others.
type standbyError struct{ err error }

func (e *standbyError) Error() string {
	return e.err.Error() + " (a standby: PostgreSQL will ask again)"
}
func (e *standbyError) Unwrap() error { return e.err }

// standbyWait is how long a standby's startup process is kept from asking its primary meanwhile.
const standbyWait = 10 * time.Second

func runFetch(ctx context.Context, cmd *cobra.Command, env *environment, o fetchOptions, name, target string) error {
	standby, err := restore.IsStandby(".")
	if err != nil {
		return err
	}
	mode := restore.ModeRecovery
	if standby {
		mode, o.wait = restore.ModeStandby, min(o.wait, standbyWait)
	}
	absent, err := fetchFile(ctx, cmd, env, o, mode, name, target)
	switch {
	case err != nil && standby:
		return &standbyError{err}
	case err != nil:
		return err
	case absent.Proven():
		return &absentError{absent}
	}
	return nil
}

func fetchFile(ctx context.Context, cmd *cobra.Command, env *environment, o fetchOptions, mode restore.Mode, name, target string) (restore.Absence, error) {
	ctx, cancel := patience(ctx, o.wait)
	defer cancel()
	c, err := openForFetch(ctx, cmd, env, o)
	if err != nil {
		return restore.Absence{}, err
	}
	histories, err := restore.Histories(".")
	if err != nil {
		return restore.Absence{}, err
	}
	fetcher := restore.NewFetcher(c, restore.FetchOptions{Mode: mode, Histories: histories})
	content, absent, err := fetcher.Fetch(ctx, name, make([]byte, 0, c.SegmentSize()))
	if err != nil || absent.Proven() {
		return absent, err
	}
	return restore.Absence{}, restore.WriteFile(target, content)
}

// openForFetch opens the cluster of the data directory we are in, or the only one.
func openForFetch(ctx context.Context, cmd *cobra.Command, env *environment, o fetchOptions) (*catalog.Catalog, error) {
	store, err := env.openExisting(ctx, o.repo)
	if err != nil {
		return nil, err
	}
	store = storage.Retry(store, storage.RetryPolicy{Observe: newUploadWatch(env.logger).observe})
	id, err := parseSystemID(cmd, o.systemID)
	if err != nil {
		return nil, err
	}
	here, ok, err := restore.SystemID(".")
	switch {
	case err != nil:
		return nil, err
	case ok && id != 0 && id != here:
		return nil, fmt.Errorf("the data directory is of system %d, not %d as --system-id says", here, id)
	case ok:
		id = here
	}
	return openCluster(ctx, store, id)
}

// openCluster opens the catalog of a cluster by its system identifier, or of the only one if that is 0.
func openCluster(ctx context.Context, store storage.Store, systemID uint64) (*catalog.Catalog, error) {
	var c *catalog.Catalog
	var err error
	if systemID != 0 {
		c, err = catalog.Open(ctx, store, systemID)
	} else {
		c, err = catalog.OpenOnly(ctx, store)
	}
	if errors.Is(err, catalog.ErrNoCluster) {
		return nil, withHint(err, "walkeep list shows what the repository holds: is --repo right?")
	}
	return c, err
}
