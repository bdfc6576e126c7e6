package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walkeep/catalog"
	"walkeep/segment/record"
	"walkeep/storage"
)

type inspectOptions struct {
	repo, systemID, timeline string
	stats                    string // "", statsByManager or statsByRecord
	managers                 []string
	xid                      uint32
	relation                 string
	limit                    int
	out                      string
	wait                     time.Duration
	json                     bool
}

// Values of --stats.
const (
	statsByManager = "rmgr"
	statsByRecord  = "record"
)

func newInspectCommand(env *environment) *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect [flags] SEGMENT|FROM..TO",
		Short: "Show the WAL records in the repository, as pg_waldump does, or export segments",
		Long: `inspect reads WAL from the repository, the tail of the segment being written included, and prints its records, or with --stats
how many there are of each kind. No server is asked.

SEGMENT is the name of a WAL file. FROM and TO are LSNs or names of WAL files; without TO it goes on to the end of the archive.
Records are shown that begin at or after FROM and end at or before TO. A range of LSNs follows the newest timeline and its
ancestors, unless --timeline names another.

--json prints one object per line and record; with --stats or --out one object for all.`,
		Example: `  walkeep inspect --repo s3://backup/prod 00000001000000A70000003C
  walkeep inspect --repo s3://backup/prod A7/3C000000..A7/3D000000 --stats=record
  walkeep inspect --repo s3://backup/prod A7/3C000000.. --relation 1663/16384/16397 --rmgr heap
  walkeep inspect --repo s3://backup/prod A7/3C000000..A7/50000000 --out /tmp/wal`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInspect(cmd.Context(), cmd, env, o, args[0])
		},
	}
	addRepoFlag(cmd, &o.repo)
	addSystemIDFlag(cmd, &o.systemID)
	flags := cmd.Flags()
	flags.StringVar(&o.timeline, "timeline", "", "`N` of the timeline to follow, or its lineage as walkeep list prints it")
	flags.StringVar(&o.stats, "stats", "", "count instead of showing, by `KIND`: rmgr, or record for each record type")
	flags.Lookup("stats").NoOptDefVal = statsByManager
	flags.StringSliceVar(&o.managers, "rmgr", nil, "only records of these resource `MANAGERS`, by pg_waldump's names")
	flags.Uint32Var(&o.xid, "xid", 0, "only records of this transaction or subtransaction, and those that end it")
	flags.StringVar(&o.relation, "relation", "", "only records that change, create, cut or drop the file `TABLESPACE/DATABASE/FILE`")
	flags.IntVar(&o.limit, "limit", 0, "stop after `N` records")
	flags.StringVar(&o.out, "out", "", "write the segments of the range as files into `DIR` instead")
	flags.DurationVar(&o.wait, "wait", 2*time.Minute, "how long to try while storage does not answer")
	addJSONFlag(cmd, &o.json)
	requireFlag(cmd, "repo")
	return cmd
}

func runInspect(ctx context.Context, cmd *cobra.Command, env *environment, o inspectOptions, arg string) error {
	filter, err := o.filter(cmd)
	if err != nil {
		return err
	}
	systemID, err := parseSystemID(cmd, o.systemID)
	if err != nil {
		return err
	}
	c, err := openToRead(ctx, env, o, systemID)
	if err != nil {
		return err
	}
	at, err := parseWhere(arg, c.SegmentSize())
	if err != nil {
		return usageErrorf(cmd, "%s", err)
	}
	if err := at.follow(o.timeline); err != nil {
		return usageErrorf(cmd, "%s", err)
	}
	opening, cancel := patience(ctx, o.wait)
	defer cancel()
	line, err := openLine(opening, c, at, o.wait)
	if err != nil {
		return err
	}
	if o.out != "" {
		return exportSegments(ctx, env, o, line)
	}
	var sink recordSink = newRecordPrinter(env, o)
	if o.stats != "" {
		sink = newRecordStats(env, o, line)
	}
	return inspectRecords(ctx, env, o, line, filter, sink)
}

func openToRead(ctx context.Context, env *environment, o inspectOptions, systemID uint64) (*catalog.Catalog, error) {
	ctx, cancel := patience(ctx, o.wait)
	defer cancel()
	store, err := env.openExisting(ctx, o.repo)
	if err != nil {
		return nil, err
	}
	store = storage.Retry(store, storage.RetryPolicy{Observe: newUploadWatch(env.logger).observe})
	return openCluster(ctx, store, systemID)
}

// filter checks the flags that choose records.
func (o inspectOptions) filter(cmd *cobra.Command) (recordFilter, error) {
	f := recordFilter{xid: o.xid}
	if o.stats != "" && o.stats != statsByManager && o.stats != statsByRecord {
		return f, usageErrorf(cmd, "--stats=%s: want rmgr or record", o.stats)
	}
	if o.limit < 0 {
		return f, usageErrorf(cmd, "--limit %d: want a number of records", o.limit)
	}
	for _, name := range o.managers {
		id, ok := managerID(name)
		if !ok {
			return f, usageErrorf(cmd, "--rmgr %s: want one of %s, or custom128 to custom255", name, strings.Join(managerNames(), ", "))
		}
		f.managers = append(f.managers, id)
	}
	if o.relation != "" {
		l, err := record.ParseLocator(o.relation)
		if err != nil {
			return f, usageErrorf(cmd, "--relation: %s", err)
		}
		f.relation = &l
	}
	isChoosing := len(f.managers) > 0 || f.relation != nil || f.xid != 0 || o.limit > 0 || o.stats != ""
	if o.out != "" && isChoosing {
		return f, usageErrorf(cmd, "--out writes whole segments: it goes with none of --stats, --rmgr, --xid, --relation and --limit")
	}
	return f, nil
}

func managerID(name string) (uint8, bool) {
	for id := range 256 {
		isKnown := id < record.BuiltinManagers || id >= record.FirstCustomManager
		if isKnown && strings.EqualFold(record.ManagerName(uint8(id)), name) {
			return uint8(id), true
		}
	}
	return 0, false
}

func managerNames() []string {
	names := make([]string, record.BuiltinManagers)
	for id := range names {
		names[id] = record.ManagerName(uint8(id))
	}
	return names
}
