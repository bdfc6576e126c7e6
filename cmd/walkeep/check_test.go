package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/replication"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

const checkTestTimeout = 2 * time.Minute

func checkContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), checkTestTimeout)
	t.Cleanup(cancel)
	return ctx
}

// checkServer checks a server and an empty repository in memory.
func checkServer(t *testing.T, dsn string) checkReport {
	t.Helper()
	return checkBoth(t, dsn, storagetest.NewMemory())
}

func checkBoth(t *testing.T, dsn string, store storage.Store) checkReport {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	cfg, err := replication.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{config: cfg, slot: "walkeep", repo: "s3://backup/prod", sample: 20 * time.Millisecond}
	return c.run(checkContext(t), store, nil)
}

// runCheckCommand runs walkeep check and returns what it prints.
func runCheckCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	var out bytes.Buffer
	env := newEnvironment()
	env.stdout = &out
	cmd := newCheckCommand(env)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(checkContext(t))
	return out.String(), err
}

// line returns the only result of an item.
func line(t *testing.T, r checkReport, item string) checkResult {
	t.Helper()
	var found []checkResult
	for _, result := range r.Items {
		if result.Item == item {
			found = append(found, result)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d lines for %s in %s", len(found), item, reportText(t, r))
	}
	return found[0]
}

func reportText(t *testing.T, r checkReport) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	return "\n" + b.String()
}

func wantStatus(t *testing.T, r checkReport, item string, want checkStatus) checkResult {
	t.Helper()
	got := line(t, r, item)
	if got.Status != want || (want != checkOK) != (got.Fix != "") {
		t.Errorf("%s: %+v, want status %s", item, got, want)
	}
	if r.OK && got.Status == checkFail {
		t.Errorf("the report is OK with %+v", got)
	}
	return got
}

var statement = regexp.MustCompile(`(ALTER|SELECT|CREATE) [^;]*;`)

// applySQL runs every statement of a fix just as printed.
func applySQL(t *testing.T, s *postgres.Server, fix string) {
	t.Helper()
	statements := statement.FindAllString(fix, -1)
	if len(statements) == 0 {
		t.Fatalf("no statement in %q", fix)
	}
	for _, sql := range statements {
		s.MustExec(t, sql)
	}
}

func restart(t *testing.T, s *postgres.Server) {
	t.Helper()
	if _, err := s.Stop(postgres.Fast); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
}

func checkMajors(t *testing.T, majors []int, test func(t *testing.T, major int)) {
	for _, major := range majors {
		if testing.Short() && major != 15 {
			continue
		}
		t.Run(strconv.Itoa(major), func(t *testing.T) { test(t, major) })
	}
}

func TestS52FreshServerPassesWithWarnings(t *testing.T) {
	checkMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		s := postgres.Start(t, postgres.Options{Major: major, Fsync: true})
		r := checkServer(t, s.DSN())
		if !r.OK {
			t.Fatal(reportText(t, r))
		}
		for _, item := range []string{
			"connect", "pg_hba", "role", "sql", "version", "wal_level", "walsenders", "slots", "slot", "synchronous",
			"sender_timeout", "archive_mode", "repository_list", "repository_put", "repository_once", "repository_get",
			"repository_delete", "repository_cluster",
		} {
			wantStatus(t, r, item, checkOK)
		}
		limit := wantStatus(t, r, "slot_limit", checkWarn)
		applySQL(t, s, limit.Fix)
		wantStatus(t, checkServer(t, s.DSN()), "slot_limit", checkOK)
		for _, result := range r.Items {
			if result.Status == checkWarn && result.Item != "slot_limit" {
				t.Errorf("a fresh server is warned of: %+v", result)
			}
		}
	})
}

func TestS52MissingPrivilege(t *testing.T) {
	checkMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		s := postgres.Start(t, postgres.Options{Major: major})
		s.MustExec(t, `CREATE ROLE "Keeper" LOGIN`)
		dsn := strings.Replace(s.DSN(), "user=postgres", "user=Keeper", 1)
		r := checkServer(t, dsn)
		role := wantStatus(t, r, "role", checkFail)
		if role.Fix != `ALTER ROLE "Keeper" REPLICATION;` || r.OK {
			t.Errorf("role: %+v", role)
		}
		applySQL(t, s, role.Fix)
		r = checkServer(t, dsn)
		wantStatus(t, r, "role", checkOK)
		if !r.OK {
			t.Error(reportText(t, r))
		}
	})
}

func TestS52RoleThatDoesNotExist(t *testing.T) {
	s := postgres.Start(t, postgres.Options{})
	dsn := strings.Replace(s.DSN(), "user=postgres", "user=keeper", 1)
	role := wantStatus(t, checkServer(t, dsn), "role", checkFail)
	s.MustExec(t, statement.FindString(role.Fix))
	wantStatus(t, checkServer(t, dsn), "role", checkOK)
}

func TestS52NoLineInPgHBA(t *testing.T) {
	checkMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		s := postgres.Start(t, postgres.Options{Major: major, Config: map[string]string{"password_encryption": "scram-sha-256"}})
		s.MustExec(t, "CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'secret'")
		path := filepath.Join(s.DataDir(), "pg_hba.conf")
		lines := []string{"host all postgres 127.0.0.1/32 trust"}
		write := func() {
			if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			s.MustExec(t, "SELECT pg_reload_conf()")
		}
		write()
		dsn := strings.Replace(s.DSN(), "user=postgres", "user=keeper password=secret", 1)
		r := checkServer(t, dsn)
		hba := wantStatus(t, r, "pg_hba", checkFail)
		const want = "host replication keeper 127.0.0.1/32 scram-sha-256"
		if !strings.Contains(hba.Fix, want) {
			t.Errorf("fix %q does not hold %q", hba.Fix, want)
		}
		lines = append(lines, want)
		write()
		r = checkServer(t, dsn)
		wantStatus(t, r, "pg_hba", checkOK)
		sql := wantStatus(t, r, "sql", checkWarn)
		if !r.OK {
			t.Errorf("replication alone is not enough:%s", reportText(t, r))
		}
		const sqlLine = "host postgres keeper 127.0.0.1/32 scram-sha-256"
		if !strings.Contains(sql.Fix, sqlLine) {
			t.Errorf("fix %q does not hold %q", sql.Fix, sqlLine)
		}
		lines = append(lines, sqlLine)
		write()
		wantStatus(t, checkServer(t, dsn), "sql", checkOK)
		password := wantStatus(t, checkServer(t, strings.Replace(dsn, "secret", "wrong", 1)), "password", checkFail)
		if !strings.Contains(password.Fix, fmt.Sprintf("127.0.0.1:%d:*:keeper:", s.Port)) {
			t.Errorf("password: %+v", password)
		}
	})
}

func TestCheckReadsOneSlotWithoutSQL(t *testing.T) {
	f := serverFacts{slot: "walkeep", slotsKnown: true, slots: []replication.SlotInfo{{Name: "walkeep", Type: "physical", RestartLSN: 1 << 24}}}
	if got := f.slotState(); len(got) != 1 || got[0].Status != checkOK || strings.Contains(got[0].Detail, " B") {
		t.Errorf("%+v", got)
	}
	f.slots[0] = replication.SlotInfo{Name: "walkeep", Type: "physical", Active: true, ActivePID: 7}
	f.senders = []replication.SenderInfo{{PID: 7, ApplicationName: "other", ClientAddr: "10.0.0.9"}}
	if got := f.slotState(); len(got) != 1 || !strings.Contains(got[0].Detail, "other from 10.0.0.9 (process 7)") {
		t.Errorf("%+v", got)
	}
}

func TestCheckCommandPrintsAndFails(t *testing.T) {
	s := postgres.Start(t, postgres.Options{})
	repo := "file://" + t.TempDir() + "/repo"
	text, err := runCheckCommand(t, "--repo", repo, "--primary", s.DSN())
	if err != nil || !strings.Contains(text, "ok    connect") || !strings.Contains(text, "warn  slot_limit") {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = runCheckCommand(t, "--repo", repo, "--primary", strings.Replace(s.DSN(), "user=postgres", "user=nobody", 1), "--json")
	if !errors.Is(err, errReported) {
		t.Errorf("error = %v", err)
	}
	var report checkReport
	if err := json.Unmarshal([]byte(text), &report); err != nil || report.OK || line(t, report, "role").Status != checkFail {
		t.Errorf("%v\n%s", err, text)
	}
	var usage *usageError
	if _, err = runCheckCommand(t, "--repo", repo, "--primary", "host=a target_session_attrs=primary"); !errors.As(err, &usage) {
		t.Errorf("error = %v", err)
	}
	if _, err = runCheckCommand(t, "--repo", repo, "--slot", "No"); !errors.As(err, &usage) {
		t.Errorf("error = %v", err)
	}
}
