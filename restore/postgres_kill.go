package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kill9 kills every process of the server at one moment, as a power failure would, and returns when all are gone. Nothing it
// shared with others is left behind.
func (s *Server) Kill9() error {
	if s.running == nil {
		return nil
	}
	master := s.running.Process.Pid
	// A stopped postmaster starts no new process.
	if err := syscall.Kill(master, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop process %d: %w", master, err)
	}
	pids := family(master)
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	<-s.exited
	s.running = nil
	s.freeSharedMemory()
	return vanish(pids)
}

// vanish waits until processes that were killed are gone.
func vanish(pids []int) error {
	limit := time.Now().Add(10 * time.Second)
	for len(pids) > 0 {
		p, ok := processes()[pids[0]]
		switch {
		case !ok || p.zombie:
			pids = pids[1:]
		case time.Now().After(limit):
			return fmt.Errorf("process %d does not end", pids[0])
		default:
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// freeSharedMemory removes the System V segment that a killed postmaster leaves; the seventh line of its pid file names it
// (utils/pidfile.h: LOCK_FILE_LINE_SHMEM_KEY).
func (s *Server) freeSharedMemory() {
	if lines := s.pidFile(); len(lines) >= 7 {
		if f := strings.Fields(lines[6]); len(f) == 2 {
			if id, err := strconv.Atoi(f[1]); err == nil {
				_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // it may be gone
			}
		}
	}
}

type process struct {
	parent int
	zombie bool
}

// family is a process, its children, and theirs (the shells of archive_command and restore_command).
func family(root int) []int {
	all, pids := processes(), []int{root}
	for i := 0; i < len(pids); i++ {
		for pid, p := range all {
			if p.parent == pids[i] {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// processes lists all processes: from /proc, or, where there is none, from ps.
func processes() map[int]process {
	all := map[int]process{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The name of the program, in parentheses, may hold anything.
		pid, rest := filepath.Base(filepath.Dir(path)), string(b)
		note(all, pid, strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:]))
	}
	if len(stats) > 0 {
		return all
	}
	out, err := exec.CommandContext(context.Background(), "ps", "-A", "-o", "pid=,state=,ppid=").Output()
	if err != nil {
		return all // then only the postmaster is killed: the others notice and follow
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 {
			note(all, f[0], f[1:])
		}
	}
	return all
}

// note adds a process; fields are its state and its parent.
func note(all map[int]process, pid string, fields []string) {
	if len(fields) < 2 {
		return
	}
	id, errID := strconv.Atoi(pid)
	parent, errParent := strconv.Atoi(fields[1])
	if errID == nil && errParent == nil {
		all[id] = process{parent: parent, zombie: strings.HasPrefix(fields[0], "Z")}
	}
}
