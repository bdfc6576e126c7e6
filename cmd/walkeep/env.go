package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/mattn/go-isatty"

	"walkeep/storage"
	"walkeep/storage/open"
)

// An environment is what a command may touch of the world around the process. Tests bring their own.
type environment struct {
	stdin  io.Reader
	stdout io.Writer // results only; everything else goes to stderr
	stderr io.Writer
	getenv func(string) string
	// isTerminal reports whether a person watches w: progress and redrawing are for them only.
	isTerminal func(w io.Writer) bool

	// The rest is set from the global flags before a command runs.
	logger  *slog.Logger // writes to stderr
	quiet   bool         // no progress, and of the log only warnings and errors
	started bool         // flags and arguments were accepted, the command ran
}

// newEnvironment returns the environment of the process.
func newEnvironment() *environment {
	return &environment{
		stdin:      os.Stdin,
		stdout:     os.Stdout,
		stderr:     os.Stderr,
		getenv:     os.Getenv,
		isTerminal: isTerminal,
		logger:     slog.New(slog.DiscardHandler),
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// openStore opens the repository at a file:// or s3:// URL; the options of the store come from WALKEEP_S3_*
// and the AWS chain.
func (e *environment) openStore(ctx context.Context, repo string) (storage.Store, error) {
	return open.Store(ctx, repo, e.getenv)
}

// openExisting is openStore for commands that only read: what isn't there is an error, and nothing is created.
func (e *environment) openExisting(ctx context.Context, repo string) (storage.Store, error) {
	return open.Existing(ctx, repo, e.getenv)
}

// patience returns a context that ends after wait, which the user gave as --wait, and says so.
func patience(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, wait, fmt.Errorf("storage did not answer within --wait %s", wait))
}

// printJSON writes v to stdout, indented and with a final newline.
func (e *environment) printJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// newLogger builds the program's logger from the values of --log-format and --log-level.
func newLogger(w io.Writer, format string, level slog.Level) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log format %q: want text or json", format)
	}
}
