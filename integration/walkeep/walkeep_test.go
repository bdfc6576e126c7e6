package walkeep_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walkeep/integration/walkeep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRunTellsOutputAndExitCode(t *testing.T) {
	var build struct{ Version string }
	if err := json.Unmarshal([]byte(walkeep.MustRun(t, "version", "--json")), &build); err != nil || build.Version == "" {
		t.Errorf("version = %+v, %v", build, err)
	}
	stdout, stderr, exit := walkeep.Run(t, "no-such-command")
	if exit <= 0 || stdout != "" || !strings.Contains(stderr, "no-such-command") {
		t.Errorf("exit code %d, stdout %q, stderr %q; want an error that names the command", exit, stdout, stderr)
	}
}

// A receiver that can't work must be seen to have exited, not waited for.
func TestWaitingEndsWithTheReceiver(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := walkeep.Receive(t, walkeep.ReceiveOptions{Repo: "no-such-scheme:", DSN: "host=127.0.0.1 port=1"})
	if err := r.WaitDurable(ctx, 1); err == nil || ctx.Err() != nil {
		t.Errorf("WaitDurable: %v; want the receiver's exit", err)
	}
	if exit, err := r.Wait(ctx); err != nil || exit <= 0 {
		t.Errorf("exit code %d, %v; want one that says error", exit, err)
	}
	if r.Log() == "" {
		t.Error("it left without a word")
	}
}
