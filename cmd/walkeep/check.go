package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"walkeep/replication"
	"walkeep/storage"
)

// checkSample is how long check watches the server write WAL.
const checkSample = time.Second

const checkLong = `Looks at everything receive needs, on every host of --primary and in the repository, and prints
one line for each thing: ok, warn or FAIL, and what mends it. Changes nothing on the server; in the
repository it writes one small object and deletes it again. Exits with 1 if anything failed.`

const checkExample = `  walkeep check --repo s3://backup/prod --primary 'host=db1,db2 user=walkeep'
  walkeep check --repo file:///srv/wal --primary service=prod --json`

// checkOptions are the flags of check.
type checkOptions struct {
	repo, primary, slot string
	singleWriter        bool
	json                bool
}

func newCheckCommand(env *environment) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:     "check --repo URL [--primary DSN]",
		Short:   "Tell what is missing before receive can work, and what mends it",
		Long:    checkLong,
		Example: checkExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCheck(cmd, env, o)
		},
	}
	addRepoFlag(cmd, &o.repo)
	addPrimaryFlag(cmd, &o.primary)
	addSlotFlag(cmd, &o.slot)
	cmd.Flags().BoolVar(&o.singleWriter, "single-writer", false,
		"the store has no conditional writes, and there is only one receiver")
	addJSONFlag(cmd, &o.json)
	requireFlag(cmd, "repo")
	return cmd
}

func runCheck(cmd *cobra.Command, env *environment, o checkOptions) error {
	if err := replication.ValidateSlotName(o.slot); err != nil {
		return usageErrorf(cmd, "--slot: %s", err)
	}
	cfg, err := replication.ParseDSN(o.primary)
	if err != nil {
		return usageErrorf(cmd, "--primary: %s", err)
	}
	c := &checker{config: cfg, slot: o.slot, repo: o.repo, singleWriter: o.singleWriter, sample: checkSample}
	store, openErr := env.openStore(cmd.Context(), o.repo)
	report := c.run(cmd.Context(), store, openErr)
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	if o.json {
		err = env.printJSON(report)
	} else {
		err = report.print(env.stdout)
	}
	if err != nil {
		return err
	}
	if !report.OK {
		return errReported
	}
	return nil
}

// A checker finds out what stands between receive and a cluster's WAL.
type checker struct {
	config       *replication.Config
	slot         string
	repo         string // URL, for the names of permissions
	singleWriter bool
	sample       time.Duration // how long to watch the WAL grow
}

// run checks every host, then the repository: store, or the reason why it can't be opened.
func (c *checker) run(ctx context.Context, store storage.Store, openErr error) checkReport {
	var results []checkResult
	systems := map[uint64]bool{}
	hosts := c.config.Hosts()
	for _, host := range hosts {
		facts := c.gather(ctx, host)
		if facts.systemID != 0 {
			systems[facts.systemID] = true
		}
		found := facts.results()
		if len(hosts) > 1 {
			for i := range found {
				found[i].Host = host.String()
			}
		}
		results = append(results, found...)
	}
	if len(systems) > 1 {
		results = append(results, failed("system", "the hosts of --primary belong to different clusters: "+joinIDs(systems),
			"name only hosts of one cluster in --primary"))
	}
	if openErr != nil {
		results = append(results, failed("repository", fmt.Sprintf("can't be opened: %s", openErr), repositoryFix(c.repo, "", openErr)))
	} else {
		results = append(results, c.repository(ctx, store, systems)...)
	}
	return newCheckReport(results)
}

// A checkStatus is the outcome of one item.
type checkStatus string

const (
	checkOK   checkStatus = "ok"
	checkWarn checkStatus = "warn"
	checkFail checkStatus = "fail"
)

// A checkResult is one line of the report.
type checkResult struct {
	Item   string      `json:"item"`
	Host   string      `json:"host,omitempty"` // set if --primary names several
	Status checkStatus `json:"status"`
	Detail string      `json:"detail"`
	Fix    string      `json:"fix,omitempty"` // SQL, a line of pg_hba.conf, a permission, or what to do
}

func passed(item, detail string) checkResult {
	return checkResult{Item: item, Status: checkOK, Detail: detail}
}

func warned(item, detail, fix string) checkResult {
	return checkResult{Item: item, Status: checkWarn, Detail: detail, Fix: fix}
}

func failed(item, detail, fix string) checkResult {
	return checkResult{Item: item, Status: checkFail, Detail: detail, Fix: fix}
}

// A checkReport is all that check found.
type checkReport struct {
	OK    bool          `json:"ok"` // nothing failed; there may be warnings
	Items []checkResult `json:"items"`
}

func newCheckReport(results []checkResult) checkReport {
	r := checkReport{OK: true, Items: results}
	for _, item := range results {
		r.OK = r.OK && item.Status != checkFail
	}
	return r
}

// print writes one line for each item.
func (r checkReport) print(w io.Writer) error {
	width := 0
	for _, item := range r.Items {
		width = max(width, len(item.name()))
	}
	marks := map[checkStatus]string{checkOK: "ok", checkWarn: "warn", checkFail: "FAIL"}
	for _, item := range r.Items {
		line := fmt.Sprintf("%-4s  %-*s  %s", marks[item.Status], width, item.name(), oneLine(item.Detail))
		if item.Fix != "" {
			line += "  ->  " + oneLine(item.Fix)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

// name is the item, after its host where there are several.
func (r checkResult) name() string {
	if r.Host == "" {
		return r.Item
	}
	return r.Host + " " + r.Item
}
