package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// An exitCode is what the process tells its caller.
type exitCode int

// Every command but fetch answers with one of the first three. fetch answers exitOK for found, exitFailure
// for proven absent and exitUnknown for all the rest: PostgreSQL takes codes 1 to 125 for "not in the
// archive" and goes on without the file, and stops recovery above (access/transam/xlogarchive.c:
// RestoreArchivedFile).
const (
	exitOK      exitCode = 0
	exitFailure exitCode = 1
	exitUsage   exitCode = 2
	exitUnknown exitCode = 200
)

// errReported is returned by a command that has already said on its output what is wrong: the exit code is
// exitFailure and nothing more is printed.
var errReported = errors.New("already reported")

// A usageError is a mistake in the command line or the environment.
type usageError struct {
	message string
	hint    string
}

func (e *usageError) Error() string { return e.message }

// Hint names the next step, for printError.
func (e *usageError) Hint() string { return e.hint }

// usageErrorf builds the error for a mistake in the command line of cmd. It points to the command's help.
func usageErrorf(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{
		message: fmt.Sprintf(format, args...),
		hint:    fmt.Sprintf("%s --help shows what the command takes", cmd.CommandPath()),
	}
}

// asUsageError turns an error from before the command ran (unknown flag, wrong number of arguments) into a
// usageError of cmd.
func asUsageError(cmd *cobra.Command, err error) error {
	var usage *usageError
	if errors.As(err, &usage) {
		return err
	}
	return usageErrorf(cmd, "%s", err.Error())
}

// A hintedError carries the next step of the person who reads it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// Hint names the next step, for printError.
func (e *hintedError) Hint() string { return e.hint }

// withHint adds the next step to err, printed on a line of its own.
func withHint(err error, hint string) error { return &hintedError{err: err, hint: hint} }

// exitWith maps the result of any command but fetch to its exit code.
func exitWith(err error) exitCode {
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	default:
		return exitFailure
	}
}

// exitFetch maps the result of fetch to its exit code. Success counts only if the command ran: a -h among
// the arguments of a restore_command prints help, and must not pass for a file that was found. The bare
// "walkeep fetch --help" of a person is fine.
func exitFetch(ran bool, args []string, err error) exitCode {
	var absent *absentError
	var standby *standbyError
	switch {
	case err == nil && (ran || isHelpOnly(args)):
		return exitOK
	case errors.As(err, &absent) && absent.proof.Proven():
		return exitFailure
	case errors.As(err, &standby):
		return exitFailure
	}
	return exitUnknown
}

func isHelpOnly(args []string) bool {
	return len(args) == 2 && (args[1] == "--help" || args[1] == "-h")
}

// isFetch reports whether the command line means fetch. Where cobra finds no command (an unknown flag in
// front may hide it), any argument "fetch" counts: code 200 stops a recovery, 2 would end it early.
func isFetch(root *cobra.Command, args []string) bool {
	if cmd, _, err := root.Find(args); err == nil && cmd != root {
		return cmd.Name() == "fetch"
	}
	return mentionsFetch(args)
}

func mentionsFetch(args []string) bool { return slices.Contains(args, "fetch") }

// printError writes "walkeep: <error>" on one line and, where the error knows one, the next step on a second.
func printError(w io.Writer, err error) {
	if errors.Is(err, errReported) {
		return
	}
	fmt.Fprintf(w, "walkeep: %s\n", oneLine(err.Error()))
	var hinted interface {
		error
		Hint() string
	}
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintf(w, "  next: %s\n", oneLine(hinted.Hint()))
	}
}

// oneLine joins the lines of s, as errors.Join makes them, with semicolons.
func oneLine(s string) string {
	lines := slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return strings.Join(lines, "; ")
}
