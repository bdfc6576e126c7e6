package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"walkeep/backup"
	"walkeep/catalog"
	"walkeep/replication"
	"walkeep/storage"
)

type backupOptions struct {
	repo, primary, systemID string
	from, label, checkpoint string
	rate                    float64
	walWait                 time.Duration
	withWAL                 bool
	singleWriter, json      bool
}

func newBackupCommand(env *environment) *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Take a base backup straight into the repository",
		Long: `backup copies the cluster over the replication protocol into the repository, compares every file with the
server's own manifest while it streams, waits until the WAL that the backup needs is archived (by walkeep receive,
which has to run, or by itself --with-wal), and only then lets the backup exist. Interrupted or failed, it leaves nothing visible.`,
		Example: `  walkeep backup --repo s3://backup/prod --primary 'host=db1 user=walkeep'
  walkeep backup --repo file:///srv/wal --primary 'host=db1,db2 user=walkeep' --from standby --rate 100`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBackup(cmd.Context(), cmd, env, o) },
	}
	addRepoFlag(cmd, &o.repo)
	addPrimaryFlag(cmd, &o.primary)
	addSystemIDFlag(cmd, &o.systemID)
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", string(catalog.FromPrimary), "which of the hosts of --primary to copy: `primary` or standby")
	flags.StringVar(&o.label, "label", "walkeep", "`TEXT` kept with the backup")
	flags.StringVar(&o.checkpoint, "checkpoint", string(replication.CheckpointFast), "`fast`, or spread to spare the server's disks")
	flags.Float64Var(&o.rate, "rate", 0, "`MB/s` that the server sends at most (default: as fast as it goes)")
	flags.BoolVar(&o.withWAL, "with-wal", false, "archive the WAL too, as long as the backup takes: where no walkeep receive runs")
	flags.DurationVar(&o.walWait, "wal-wait", time.Minute, "how long to wait for the backup's WAL while none is archived")
	flags.BoolVar(&o.singleWriter, "single-writer", false, "promise that nobody else writes to the repository: for stores without conditional writes")
	addJSONFlag(cmd, &o.json)
	requireFlag(cmd, "repo")
	return cmd
}

// backupPatience is how long storage may be away before a backup gives up: the server keeps it open meanwhile.
const backupPatience = 15 * time.Minute

// backupHeapLimit is where the garbage collector works harder: the large buffers lie outside of its heap.
const backupHeapLimit = 48 << 20

func runBackup(ctx context.Context, cmd *cobra.Command, env *environment, o backupOptions) error {
	options, err := o.taker(cmd)
	if err != nil {
		return err
	}
	store, err := env.openStore(ctx, o.repo)
	if err != nil {
		return err
	}
	if o.singleWriter {
		if store, err = storage.SingleWriter(store); err != nil {
			return err
		}
	}
	options.Store = storage.Retry(store, storage.RetryPolicy{
		MaxElapsed: backupPatience, Observe: newUploadWatch(env.logger).observe,
	})
	options.Log = env.logger
	progress := newBackupProgress(env)
	options.Progress = progress.update
	debug.SetMemoryLimit(backupHeapLimit)
	began := time.Now()
	var taker backup.Taker
	b, err := taker.Take(ctx, options)
	progress.finish()
	if err != nil {
		return hintBackup(err)
	}
	if o.json {
		return env.printJSON(b)
	}
	_, err = fmt.Fprintf(env.stdout, "Backup %s of the %s: %s in %d files, %s stored, from %s to %s, took %s\n", b.ID, b.Source,
		byteSize(float64(b.DataBytes)), b.DataFiles, byteSize(float64(b.Stored())), b.Start, b.Stop, time.Since(began).Round(100*time.Millisecond))
	return err
}

// hintBackup adds what to do about an error.
func hintBackup(err error) error {
	var missing *backup.NotArchivedError
	switch {
	case errors.As(err, &missing):
		return withHint(err, "walkeep status and walkeep list show whether and how far WAL is archived")
	case replication.Classify(err) == replication.ClassAuth, replication.Classify(err) == replication.ClassLimits:
		return withHint(err, "walkeep check says what to mend")
	}
	return err
}

// taker turns the flags into options.
func (o backupOptions) taker(cmd *cobra.Command) (backup.Options, error) {
	var none backup.Options
	server, err := replication.ParseDSN(o.primary)
	if err != nil {
		return none, fmt.Errorf("--primary: %w", err)
	}
	id, err := parseSystemID(cmd, o.systemID)
	if err != nil {
		return none, err
	}
	from := catalog.BackupSource(o.from)
	if from != catalog.FromPrimary && from != catalog.FromStandby {
		return none, usageErrorf(cmd, "--from %q: want primary or standby", o.from)
	}
	rate := int(math.Round(o.rate * 1024))
	checkpoint := replication.CheckpointMode(o.checkpoint)
	switch {
	case checkpoint != replication.CheckpointFast && checkpoint != replication.CheckpointSpread:
		return none, usageErrorf(cmd, "--checkpoint %q: want fast or spread", o.checkpoint)
	case o.rate != 0 && (rate < replication.MinBackupRate || rate > replication.MaxBackupRate):
		return none, usageErrorf(cmd, "--rate %g: want 0.03125 to 1024 MB/s, or 0 for no limit", o.rate)
	case o.walWait <= 0:
		return none, usageErrorf(cmd, "--wal-wait must be above zero")
	}
	wal := backup.WALFromReceiver
	if o.withWAL {
		wal = backup.WALFromBackup
	}
	return backup.Options{
		Server: server, SystemID: id, From: from, WALWait: o.walWait, WAL: wal,
		Backup: replication.BackupOptions{Label: o.label, Checkpoint: checkpoint, MaxRate: rate},
	}, nil
}
