package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// result is what one command line left behind.
type result struct {
	code           exitCode
	stdout, stderr string
}

// walkeep runs a command line in this process, with the given environment variables ("NAME=value") and no
// others, on no terminal.
func walkeep(ctx context.Context, variables []string, args ...string) result {
	var stdout, stderr bytes.Buffer
	env := testEnvironment(&stdout, &stderr, variables)
	code := run(ctx, env, args)
	return result{code, stdout.String(), stderr.String()}
}

func testEnvironment(stdout, stderr io.Writer, variables []string) *environment {
	env := newEnvironment()
	env.stdin, env.stdout, env.stderr = strings.NewReader(""), stdout, stderr
	env.isTerminal = func(io.Writer) bool { return false }
	env.getenv = func(name string) string {
		for _, v := range variables {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}
	return env
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		args   string
		code   exitCode
		stderr string
	}{
		{"", exitOK, ""},
		{"help", exitOK, ""},
		{"help version", exitOK, ""},
		{"--version", exitOK, ""},
		{"version", exitOK, ""},
		{"version --help", exitOK, ""},
		{"version extra", exitUsage, "walkeep: unknown command \"extra\" for \"walkeep version\"\n"},
		{"version --bogus", exitUsage, "walkeep: unknown flag: --bogus\n  next: walkeep version --help shows what the command takes\n"},
		{"vershun", exitUsage, "walkeep: unknown command walkeep vershun\n  next: did you mean walkeep version?\n"},
		{"xyzzy", exitUsage, "walkeep: unknown command walkeep xyzzy\n  next: walkeep --help lists the commands\n"},
		{"slot xyzzy", exitUsage, "walkeep: unknown command walkeep slot xyzzy\n"},
		{"--log-format xml version", exitUsage, "walkeep: --log-format (or WALKEEP_LOG_FORMAT): log format \"xml\""},
		{"--log-level loud version", exitUsage, "walkeep: invalid argument \"loud\" for \"--log-level\" flag"},
		{"status --url ftp://x", exitUsage, "walkeep: --url (or WALKEEP_URL): \"ftp://x\" is not like http://127.0.0.1:9187\n"},
		{"receive", exitUsage, "walkeep: --repo (or WALKEEP_REPO) is required\n"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			got := walkeep(t.Context(), nil, strings.Fields(test.args)...)
			if got.code != test.code || !strings.HasPrefix(got.stderr, test.stderr) || test.stderr == "" && got.stderr != "" {
				t.Errorf("exit %d, stderr %q; want %d, %q...", got.code, got.stderr, test.code, test.stderr)
			}
		})
	}
}

// Whatever is wrong before fetch could look, PostgreSQL must not take it for "not in the archive".
func TestFetchNeverSaysAbsentByMistake(t *testing.T) {
	for _, args := range []string{
		"fetch", "fetch only-one", "fetch a b c", "fetch --bogus a b", "--bogus fetch a b", "--bogus=x fetch a b",
		"fetch --log-level loud a b", "--log-level loud fetch a b", "-q fetch", "fetch -h a b", "fetch a b --help",
		"--help fetch a b", "--version fetch a b", "ftech fetch a b", "fetch --repo", "--log-level fetch",
	} {
		if got := walkeep(t.Context(), nil, strings.Fields(args)...); got.code != exitUnknown {
			t.Errorf("walkeep %s: exit %d, want %d", args, got.code, exitUnknown)
		}
	}
	bad := []string{"WALKEEP_LOG_LEVEL=loud"}
	if got := walkeep(t.Context(), bad, "fetch", "a", "b"); got.code != exitUnknown {
		t.Errorf("bad variable: exit %d, want %d", got.code, exitUnknown)
	}
	for _, args := range []string{"fetch --help", "fetch -h", "help fetch"} {
		if got := walkeep(t.Context(), nil, strings.Fields(args)...); got.code != exitOK {
			t.Errorf("walkeep %s: exit %d, want 0", args, got.code)
		}
	}
	// An argument of another command that happens to be "fetch" doesn't make it fetch.
	if got := walkeep(t.Context(), nil, "version", "fetch"); got.code != exitUsage {
		t.Errorf("walkeep version fetch: exit %d, want %d", got.code, exitUsage)
	}
}
