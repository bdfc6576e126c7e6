package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rootPrefix begins the name of every server's directory; the number of the owning process follows.
const rootPrefix = "walkeep-postgres-"

// pidFile returns the lines of postmaster.pid; none if there is no such file.
func pidFile(data string) []string {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return nil
	}
	return strings.Split(string(b), "\n")
}

// A stat is what the harness needs of /proc/PID/stat.
type stat struct {
	state  string // R, S, D, T, Z ...
	parent int
}

func processStat(pid int) (stat, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	// The program's name, in parentheses, may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 2 {
		return stat{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	return stat{state: fields[0], parent: parent}, err == nil
}

// family returns the process, its children, and theirs (archive_command's shell).
func family(root int) []int {
	children := make(map[int][]int)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if st, ok := processStat(pid); ok {
			children[st.parent] = append(children[st.parent], pid)
		}
	}
	pids := []int{root}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids
}

// sweep removes directories left by test processes that died an hour ago or more.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), rootPrefix+"*"))
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), rootPrefix), "-")
		pid, err := strconv.Atoi(owner)
		info, statErr := os.Stat(dir)
		if err != nil || statErr != nil || time.Since(info.ModTime()) < time.Hour {
			continue
		}
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.RemoveAll(dir)
		}
	}
}
