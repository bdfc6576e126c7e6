package restore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"walkeep/integration/poll"
	"walkeep/segment"
)

// A gate holds a recovery at its third segment, so that a test can do something in the middle of it.
type gate struct {
	l     *lab
	path  string
	third segment.Name
}

func (l *lab) newGate() *gate {
	return &gate{l: l, path: filepath.Join(filepath.Dir(l.base), "gate"), third: l.backupStart().Next().Next()}
}

// before returns the restore_command with the gate in front.
func (g *gate) before(command string) string {
	return fmt.Sprintf(`case %%f in %s) touch %[2]s.reached; while [ ! -e %[2]s ]; do sleep 0.02; done;; esac; %[3]s`, g.third, g.path, command)
}

// reached waits until a recovery stands before the gate.
func (g *gate) reached() {
	g.l.t.Helper()
	must(g.l.t, poll.Until(g.l.ctx, "recovery to reach "+g.third.String(), func(context.Context) (bool, error) {
		_, err := os.Stat(g.path + ".reached")
		return err == nil, nil
	}))
}

// open lets the recovery go on, and every later one pass.
func (g *gate) open() {
	g.l.t.Helper()
	must(g.l.t, os.WriteFile(g.path, nil, 0o644))
}
