package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"walkeep/storage"
)

const (
	crashDirEnv = "WALKEEP_TEST_CRASH_DIR"
	crashAtEnv  = "WALKEEP_TEST_CRASH_AT"
	crashKey    = "wal/00000001-00000000/00000000/000000010000000000000001"
)

var crashData = bytes.Repeat([]byte("wal"), 100_000)

// runCrashHelper makes this process, if the environment says so, one that puts an object and kills itself
// before the step it was told.
func runCrashHelper() bool {
	dir := os.Getenv(crashDirEnv)
	if dir == "" {
		return false
	}
	at, err := strconv.Atoi(os.Getenv(crashAtEnv))
	if err == nil {
		err = crashingPut(dir, at)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func crashingPut(dir string, at int) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	step := 0
	s.ops = beforeEach(s.ops, func(string) error {
		if step == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it arrives
		}
		step++
		return nil
	})
	return s.Put(noContext, crashKey, crashData)
}

// beforeEach returns ops that ask hook first, with the step's name, and fail as it says. Of a write half is
// done first.
func beforeEach(ops fileOps, hook func(step string) error) fileOps {
	before := func(step string, do func() error) error {
		if err := hook(step); err != nil {
			return err
		}
		return do()
	}
	with := ops
	with.create = func(path string) (f *os.File, err error) {
		err = before("create", func() error { f, err = ops.create(path); return err })
		return f, err
	}
	with.write = func(f *os.File, data []byte) (n int, err error) {
		half := len(data) / 2
		if n, err = ops.write(f, data[:half]); err != nil {
			return n, err
		}
		err = before("write", func() error { n, err = ops.write(f, data[half:]); return err })
		return half + n, err
	}
	with.sync = func(f *os.File) error { return before("sync", func() error { return ops.sync(f) }) }
	with.link = func(a, b string) error { return before("link", func() error { return ops.link(a, b) }) }
	with.mkdir = func(p string) error { return before("mkdir", func() error { return ops.mkdir(p) }) }
	with.remove = func(p string) error { return before("remove", func() error { return ops.remove(p) }) }
	with.rmdir = func(p string) error { return before("rmdir", func() error { return ops.rmdir(p) }) }
	return with
}

// Killed before any step of a Put, a writer leaves no half object; the next one carries on.
func TestS38KilledBetweenSteps(t *testing.T) {
	for at := 0; ; at++ {
		dir := t.TempDir()
		if _, err := Create(dir); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDirEnv+"="+dir, crashAtEnv+"="+strconv.Itoa(at))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if err != nil && !killed {
			t.Fatalf("step %d: %v\n%s", at, err, out)
		}
		checkResumes(t, dir, at)
		if err == nil {
			if at < 8 {
				t.Errorf("only %d steps: the seam doesn't cover a Put", at)
			}
			return
		}
	}
}

func checkResumes(t *testing.T, dir string, at int) {
	t.Helper()
	s, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(t.Context(), crashKey, nil)
	absent := errors.Is(err, storage.ErrNotFound)
	if !absent && (err != nil || !bytes.Equal(got, crashData)) {
		t.Fatalf("step %d: %d bytes, %v; want all or ErrNotFound", at, len(got), err)
	}
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil || o.Key != crashKey || absent {
			t.Errorf("step %d: List: %v, %v", at, o, err)
		}
	}
	err = s.Put(t.Context(), crashKey, crashData)
	if absent && err != nil || !absent && !errors.Is(err, storage.ErrExists) {
		t.Errorf("step %d: Put afterwards: %v (absent before: %v)", at, err, absent)
	}
	if got, err := s.Get(t.Context(), crashKey, nil); err != nil || !bytes.Equal(got, crashData) {
		t.Errorf("step %d: Get afterwards: %d bytes, %v", at, len(got), err)
	}
}
