package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// probe is a command with one flag of each kind, put into a real command tree.
type probe struct {
	repo, primary string
	interval      time.Duration
	asJSON        bool
}

func (p *probe) run(t *testing.T, variables []string, args ...string) result {
	t.Helper()
	var stdout, stderr strings.Builder
	env := testEnvironment(&stdout, &stderr, variables)
	cmd := &cobra.Command{Use: "probe", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		env.logger.Debug("debug")
		env.logger.Info("info")
		env.logger.Warn("warn")
		return nil
	}}
	addRepoFlag(cmd, &p.repo)
	addPrimaryFlag(cmd, &p.primary)
	addJSONFlag(cmd, &p.asJSON)
	cmd.Flags().DurationVar(&p.interval, "tail-interval", time.Second, "")
	requireFlag(cmd, "repo")
	root := newRootCommand(env)
	root.AddCommand(cmd)
	root.SetArgs(append([]string{"probe"}, args...))
	command, err := root.ExecuteContextC(t.Context())
	if err != nil && !env.started {
		err = asUsageError(command, err)
	}
	if err != nil {
		printError(env.stderr, err)
	}
	return result{exitWith(err), stdout.String(), stderr.String()}
}

func TestVariablesStandInForFlags(t *testing.T) {
	variables := []string{
		"WALKEEP_REPO=file:///variable", "WALKEEP_TAIL_INTERVAL=3s", "WALKEEP_JSON=true", "WALKEEP_PRIMARY=",
		"WALKEEP_HELP=true", "WALKEEP_VERSION=v1",
	}
	var p probe
	if got := p.run(t, variables); got.code != exitOK || strings.Contains(got.stdout, "Usage") {
		t.Fatalf("%+v", got)
	}
	if p.repo != "file:///variable" || p.interval != 3*time.Second || !p.asJSON {
		t.Errorf("variables were not taken: %+v", p)
	}
	p = probe{}
	if got := p.run(t, variables, "--repo", "file:///flag", "--json=false"); got.code != exitOK {
		t.Fatalf("%+v", got)
	}
	if p.repo != "file:///flag" || p.interval != 3*time.Second || p.asJSON {
		t.Errorf("the command line doesn't win: %+v", p)
	}
}

func TestBadVariableIsNamedAndNotShown(t *testing.T) {
	got := new(probe).run(t, []string{"WALKEEP_REPO=x", "WALKEEP_TAIL_INTERVAL=secret"})
	want := "walkeep: WALKEEP_TAIL_INTERVAL (flag --tail-interval) is not valid\n"
	if got.code != exitUsage || !strings.HasPrefix(got.stderr, want) || strings.Contains(got.stderr, "secret") {
		t.Errorf("exit %d, %q, want 2, %q", got.code, got.stderr, want)
	}
}

func TestRequiredFlag(t *testing.T) {
	got := new(probe).run(t, nil)
	want := "walkeep: --repo (or WALKEEP_REPO) is required\n  next: walkeep probe --help shows what the command takes\n"
	if got.code != exitUsage || got.stderr != want {
		t.Errorf("exit %d, %q, want 2, %q", got.code, got.stderr, want)
	}
}

func TestLogFlags(t *testing.T) {
	tests := []struct {
		args string
		want []string // messages
	}{
		{"", []string{"info", "warn"}},
		{"--log-level debug", []string{"debug", "info", "warn"}},
		{"--log-level error", nil},
		{"--quiet", []string{"warn"}},
		{"-q --log-level debug", []string{"warn"}},
	}
	for _, test := range tests {
		args := append([]string{"--repo", "x", "--log-format", "json"}, strings.Fields(test.args)...)
		got := new(probe).run(t, nil, args...)
		var messages []string
		for line := range strings.Lines(got.stderr) {
			var entry struct{ Msg string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Errorf("%q is not JSON: %v", line, err)
			}
			messages = append(messages, entry.Msg)
		}
		if fmt.Sprint(messages) != fmt.Sprint(test.want) {
			t.Errorf("%q logs %v, want %v", test.args, messages, test.want)
		}
	}
}

func TestPrintError(t *testing.T) {
	plain := errors.New("storage is down")
	tests := []struct {
		err  error
		want string
	}{
		{plain, "walkeep: storage is down\n"},
		{errReported, ""},
		{errors.Join(plain, errors.New("so is the server")), "walkeep: storage is down; so is the server\n"},
		{withHint(plain, "bring it back"), "walkeep: storage is down\n  next: bring it back\n"},
		{fmt.Errorf("put x: %w", withHint(plain, "bring it back")), "walkeep: put x: storage is down\n  next: bring it back\n"},
	}
	for _, test := range tests {
		var b strings.Builder
		printError(&b, test.err)
		if b.String() != test.want {
			t.Errorf("printError(%v) = %q, want %q", test.err, b.String(), test.want)
		}
	}
}

func TestVersionJSON(t *testing.T) {
	got := walkeep(t.Context(), nil, "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil || b.Version == "" || !strings.HasPrefix(b.Go, "go1.") {
		t.Errorf("%q: %+v, %v", got.stdout, b, err)
	}
}

// Each flag of each command must be settable from the environment without surprise: no name of one flag is a
// variable that something else sets. Kubernetes sets WALKEEP_PORT and WALKEEP_SERVICE_* for a service "walkeep".
func TestFlagNames(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, name := range []string{"port", "service-host", "service-port"} {
			if cmd.Flags().Lookup(name) != nil {
				t.Errorf("%s has --%s, and Kubernetes sets %s", cmd.CommandPath(), name, variable(name))
			}
		}
		if cmd.PersistentPreRunE != nil && cmd.HasParent() {
			t.Errorf("%s hides the root's PersistentPreRunE", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	var b strings.Builder
	visit(newRootCommand(testEnvironment(&b, &b, nil)))
}
