package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walkeep/backup"
)

// On a terminal there is a bar with size, rate and remaining time; elsewhere a plain line now and then; with --quiet neither.
func TestBackupProgress(t *testing.T) {
	tests := map[string]struct {
		terminal, quiet bool
		want, unwanted  string
	}{
		"terminal": {terminal: true, want: "base backup  50%", unwanted: "level=INFO"},
		"file":     {want: `level=INFO msg="base backup" done="512 MiB" total="1.0 GiB" rate="26 MiB/s" remaining=20s`, unwanted: "\r"},
		"quiet":    {terminal: true, quiet: true, unwanted: "backup"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stderr bytes.Buffer
				env := testEnvironment(io.Discard, &stderr, nil)
				env.isTerminal = func(io.Writer) bool { return test.terminal }
				globals := globalFlags{logFormat: "text", quiet: test.quiet}
				if err := globals.apply(nil, env); err != nil {
					t.Fatal(err)
				}
				p := newBackupProgress(env)
				p.update(backup.Progress{Total: 1 << 30})
				time.Sleep(20 * time.Second)
				p.update(backup.Progress{Done: 1 << 29, Total: 1 << 30})
				p.finish()
				said := stderr.String()
				if !strings.Contains(said, test.want) || test.unwanted != "" && strings.Contains(said, test.unwanted) {
					t.Errorf("want %q and no %q, got:\n%q", test.want, test.unwanted, said)
				}
			})
		})
	}
}

func TestBackupUsage(t *testing.T) {
	for args, want := range map[string]string{
		"backup": "--repo (or WALKEEP_REPO) is required",
		"backup --repo file:///x --from elsewhere":     `--from "elsewhere": want primary or standby`,
		"backup --repo file:///x --checkpoint slow":    `--checkpoint "slow": want fast or spread`,
		"backup --repo file:///x --rate 0.01":          "--rate 0.01: want 0.03125 to 1024 MB/s",
		"backup --repo file:///x --rate 2000":          "--rate 2000: want 0.03125 to 1024 MB/s",
		"backup --repo file:///x --wal-wait 0s":        "--wal-wait must be above zero",
		"backup --repo file:///x --system-id nonsense": "is not a system identifier",
	} {
		r := walkeep(t.Context(), nil, strings.Fields(args)...)
		if r.code != exitUsage || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: exit code %d, %s", args, r.code, r.stderr)
		}
	}
}
