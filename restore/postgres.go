package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Versions of PostgreSQL that walkeep knows.
const (
	oldestMajor = 13
	newestMajor = 18
)

// An Installation is the programs of one version of PostgreSQL.
type Installation struct {
	Bindir  string // absolute
	Major   int
	Version string // "15.14"
}

// Program is the path of one of its programs: "initdb", "pg_basebackup" ...
func (i Installation) Program(name string) string { return filepath.Join(i.Bindir, name) }

// usualBindirs are where packages put PostgreSQL's programs: Debian, PGDG's RPMs, source, Homebrew, macOS installers.
var usualBindirs = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/local/pgsql/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/Library/PostgreSQL/*/bin",
}

// FindInstallation returns the newest installation of PostgreSQL 13 to 18 that has all the programs needed: in bindir, or, if
// that is "", in PATH, where pg_config says, and in the usual places. The error says where it looked.
func FindInstallation(ctx context.Context, bindir string, needed ...string) (Installation, error) {
	dirs := []string{bindir}
	if bindir == "" {
		dirs = bindirs(ctx)
	}
	var found Installation
	var refused []error
	for _, dir := range dirs {
		i, err := inspect(ctx, dir, needed)
		if err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", dir, err))
			continue
		}
		if i.Major > found.Major {
			found = i
		}
	}
	if found.Major == 0 {
		refused = append(refused, fmt.Errorf("looked in PATH, where pg_config says and in %s", strings.Join(usualBindirs, ", ")))
		if bindir != "" {
			refused = refused[:1]
		}
		return found, fmt.Errorf("no PostgreSQL %d to %d with %s: %w", oldestMajor, newestMajor, strings.Join(needed, ", "), errors.Join(refused...))
	}
	return found, nil
}

// bindirs are the directories that may hold PostgreSQL, each once.
func bindirs(ctx context.Context) []string {
	var dirs []string
	seen := map[string]bool{}
	add := func(dir string) {
		if real, err := filepath.EvalSymlinks(dir); err == nil && !seen[real] {
			seen[real] = true
			dirs = append(dirs, dir)
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			add(filepath.Dir(path))
		}
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); isProgram(filepath.Join(dir, "postgres")) {
			add(dir)
		}
	}
	for _, pattern := range usualBindirs {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			continue // none of ours
		}
		for _, dir := range matches {
			if isProgram(filepath.Join(dir, "postgres")) {
				add(dir)
			}
		}
	}
	return dirs
}

// inspect asks the postgres in dir for its version, "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
func inspect(ctx context.Context, dir string, needed []string) (Installation, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Installation{}, err
	}
	for _, name := range append([]string{"postgres"}, needed...) {
		if !isProgram(filepath.Join(dir, name)) {
			return Installation{}, fmt.Errorf("there is no %s", name)
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Installation{}, fmt.Errorf("postgres --version: %w", err)
	}
	m := regexp.MustCompile(`^postgres \(PostgreSQL\) ((\d+)\S*)`).FindStringSubmatch(string(out))
	if m == nil {
		return Installation{}, fmt.Errorf("postgres --version says %q", strings.TrimSpace(string(out)))
	}
	major, err := strconv.Atoi(m[2])
	if err != nil || major < oldestMajor || major > newestMajor {
		return Installation{}, fmt.Errorf("it is PostgreSQL %s, walkeep knows %d to %d", m[1], oldestMajor, newestMajor)
	}
	return Installation{Bindir: dir, Major: major, Version: m[1]}, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
