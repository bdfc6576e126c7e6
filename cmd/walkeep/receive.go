package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"walkeep/dashboard"
	"walkeep/replication"
	"walkeep/storage"
	"walkeep/uploader"
)

type receiveOptions struct {
	repo, primary, systemID, slot, listen string
	branch                                string
	allowRemote, singleWriter             bool
	tailInterval, releaseAfter            time.Duration
	stopTimeout                           time.Duration
	buffers                               int
	compressedMB                          int
	workers                               int
}

func newReceiveCommand(env *environment) *cobra.Command {
	var o receiveOptions
	cmd := &cobra.Command{
		Use:   "receive",
		Short: "Receive WAL from a server and keep it safe in the repository, until stopped",
		Long: `receive connects to the primary over the replication protocol, and from then on everything the server
flushes is durable in the repository within about a second. The server keeps what is not yet durable in a
replication slot, which receive creates. One process serves one cluster; a second one waits as a stand-in.

Its state is at --listen: a page for people, /status.json, /healthz and /metrics.`,
		Example: `  walkeep receive --repo s3://backup/prod --primary 'host=db1,db2 user=walkeep'
  walkeep receive --repo file:///srv/wal --primary 'host=/run/postgresql user=walkeep'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runReceive(cmd.Context(), cmd, env, o) },
	}
	addRepoFlag(cmd, &o.repo)
	addPrimaryFlag(cmd, &o.primary)
	addSystemIDFlag(cmd, &o.systemID)
	addSlotFlag(cmd, &o.slot)
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:9187", "`ADDRESS` of the status page and metrics, \"\" for none")
	flags.BoolVar(&o.allowRemote, "listen-remote", false, "allow --listen on an address that other hosts reach: it has no password")
	flags.DurationVar(&o.tailInterval, "tail-interval", time.Second, "longest `TIME` that received WAL waits before it is stored")
	flags.DurationVar(&o.releaseAfter, "release-after", 20*time.Second, "longest `TIME` that a server's shutdown waits for storage")
	flags.DurationVar(&o.stopTimeout, "stop-timeout", 10*time.Second, "longest `TIME` that our own shutdown waits for storage")
	flags.BoolVar(&o.singleWriter, "single-writer", false, "promise that nobody else writes to the repository: for stores without conditional writes")
	flags.StringVar(&o.branch, "branch", "", "archive into branch `NAME` beside the repository's main line: for a server whose WAL contradicts it")
	flags.IntVar(&o.buffers, "buffers", 0, "`NUMBER` of segment buffers in memory (default: 64 MB worth of segments, 2 to 16)")
	flags.IntVar(&o.compressedMB, "compressed-memory", 0, "`MB` of memory for compressed segments on their way (default 64, or one segment)")
	flags.IntVar(&o.workers, "workers", 0, "`NUMBER` of segments compressed at a time (default: CPUs, up to 4)")
	requireFlag(cmd, "repo")
	return cmd
}

// heapLimit is where the garbage collector of a receiver begins to work harder. Large segments that are read back at start
// (a tail, the segment before) may exceed it for a moment.
const heapLimit = 64 << 20

func runReceive(ctx context.Context, cmd *cobra.Command, env *environment, o receiveOptions) error {
	options, err := o.receiver(cmd)
	if err != nil {
		return err
	}
	if o.repo, err = branchURL(cmd, o.repo, o.branch); err != nil {
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
	uploads := newUploadWatch(env.logger)
	options.Store = storage.Retry(store, storage.RetryPolicy{Observe: uploads.observe})
	options.Log = env.logger
	receiver, err := replication.NewReceiver(options)
	if err != nil {
		return usageErrorf(cmd, "%s", err)
	}
	// The buffers lie outside the garbage collector's heap, so that what it holds is small and short-lived: collect seldom, but
	// don't let it grow.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(heapLimit)
	status := func() dashboard.Status { return dashboardStatus(receiver.Status(), uploads, o) }
	return serveReceiver(ctx, env, o, receiver, status)
}

// serveReceiver runs the receiver and what shows it. A first signal ends it in good order.
func serveReceiver(ctx context.Context, env *environment, o receiveOptions, receiver *replication.Receiver, status func() dashboard.Status) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	group, running := errgroup.WithContext(running)
	if o.listen != "" {
		listener, err := dashboard.Listen(ctx, o.listen, dashboard.ListenOptions{AllowRemote: o.allowRemote})
		if errors.Is(err, dashboard.ErrRemote) {
			return withHint(err, "use a loopback address, or add --listen-remote if the network in between is trusted")
		}
		if err != nil {
			return withHint(err, "choose another --listen, or --listen '' for no status page")
		}
		env.logger.Info("status page", "url", "http://"+listener.Addr().String())
		handler := dashboard.NewHandler(status, dashboard.HandlerOptions{})
		group.Go(func() error {
			return dashboard.Serve(running, listener, handler, dashboard.ServeOptions{Logger: env.logger})
		})
	}
	group.Go(func() error { return notifySystemd(running, ctx.Done(), env, status) })
	group.Go(func() error {
		defer cancel()
		return receiver.Run(running, ctx.Done())
	})
	return group.Wait()
}

// receiver turns the flags into options.
func (o receiveOptions) receiver(cmd *cobra.Command) (replication.ReceiverOptions, error) {
	var none replication.ReceiverOptions
	server, err := replication.ParseDSN(o.primary)
	if err != nil {
		return none, fmt.Errorf("--primary: %w", err)
	}
	id, err := parseSystemID(cmd, o.systemID)
	if err != nil {
		return none, err
	}
	if o.tailInterval <= 0 || o.releaseAfter <= 0 || o.stopTimeout <= 0 {
		return none, usageErrorf(cmd, "--tail-interval, --release-after and --stop-timeout must be above zero")
	}
	return replication.ReceiverOptions{
		Server: server, Slot: o.slot, SystemID: id,
		TailInterval: o.tailInterval, ReleaseAfter: o.releaseAfter, StopTimeout: o.stopTimeout,
		Uploader: uploader.Options{Buffers: o.buffers, ArenaBytes: o.compressedMB << 20, Compressors: o.workers},
	}, nil
}

// branchURL is the URL of a branch: a repository of its own below the main one, for all other commands to name.
func branchURL(cmd *cobra.Command, repo, name string) (string, error) {
	if name == "" {
		return repo, nil
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" || len(name) > 63 {
		return "", usageErrorf(cmd, "--branch %q: want up to 63 lower-case letters, digits, - and _", name)
	}
	u, err := url.Parse(repo)
	if err != nil {
		return "", usageErrorf(cmd, "--repo is not a URL")
	}
	return u.JoinPath("branch", name).String(), nil
}

func parseSystemID(cmd *cobra.Command, s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(s, 10, 64)
	if err != nil || id == 0 {
		return 0, usageErrorf(cmd, "--system-id %q is not a system identifier: pg_controldata prints it", s)
	}
	return id, nil
}
