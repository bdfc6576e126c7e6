// Command walkeep keeps a PostgreSQL cluster's write-ahead log safe in object storage.
//
// The invariant of this package: an exit code is a statement. The process leaves through main and nowhere
// else, 0 is said only after the command ran and succeeded, and fetch says 1 only with a proof of absence,
// because PostgreSQL ends recovery on it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() {
	args := os.Args[1:]
	if mentionsFetch(args) {
		// A panic must not become exit code 2, which PostgreSQL reads as "end of WAL": abort instead.
		debug.SetTraceback("crash")
	}
	os.Exit(int(run(signalContext(), newEnvironment(), args)))
}

// signalContext returns a context that the first SIGINT or SIGTERM cancels. From then on the default
// disposition is back: a second one ends the process at once.
func signalContext() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// run executes one command line and returns the exit code. It prints the error, if there is one.
func run(ctx context.Context, env *environment, args []string) exitCode {
	root := newRootCommand(env)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !env.started {
		err = asUsageError(command, err)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted: %w", err)
		}
		printError(env.stderr, err)
	}
	if isFetch(root, args) {
		return exitFetch(env.started, args, err)
	}
	return exitWith(err)
}
