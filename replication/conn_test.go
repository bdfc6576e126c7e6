package replication_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/replication"
	"walkeep/segment"
)

func TestConnTellsOfTheServer(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 4, Config: map[string]string{
			"default_transaction_read_only": "on", "wal_sender_timeout": "90s",
		}})
		c := mustConnect(t, s)
		system, err := c.Identify(ctx)
		if err != nil {
			t.Fatal(err)
		}
		id, err := s.SystemID(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if strconv.FormatUint(system.ID, 10) != id || system.Timeline != 1 || system.Flush == 0 {
			t.Errorf("Identify = %+v, want system %s on timeline 1", system, id)
		}
		if c.ServerVersion()/10000 != major {
			t.Errorf("ServerVersion = %d", c.ServerVersion())
		}
		if size, err := c.SegmentSize(ctx); err != nil || size != 4<<20 {
			t.Errorf("SegmentSize = %d, %v", size, err)
		}
		if standby, err := c.InRecovery(ctx); err != nil || standby {
			t.Errorf("InRecovery = %v, %v on a read-only primary", standby, err)
		}
		if d, err := c.WALSenderTimeout(ctx); err != nil || d != 90*time.Second {
			t.Errorf("WALSenderTimeout = %s, %v", d, err)
		}
		if name, err := c.Show(ctx, "application_name"); err != nil || name != "walkeep" {
			t.Errorf("application_name = %q, %v", name, err)
		}
		if _, err := c.Show(ctx, "no_such_parameter"); replication.Classify(err) == replication.ClassNone {
			t.Error("SHOW of an unknown parameter is no error")
		}
		if _, err := c.Show(ctx, "x; DROP"); err == nil {
			t.Error("SHOW takes any text")
		}
		if _, err := c.History(ctx, 1); !errors.Is(err, replication.ErrNoHistory) {
			t.Errorf("History(1) = %v", err)
		}
		if _, err := c.Identify(ctx); err != nil {
			t.Errorf("after errors: %v", err)
		}
	})
}

func TestConnOfStandbyAndItsHistoryAfterPromotion(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		standby := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1}).Standby(t, "", postgres.Options{})
		c := mustConnect(t, standby)
		if in, err := c.InRecovery(ctx); err != nil || !in {
			t.Errorf("InRecovery = %v, %v on a standby", in, err)
		}
		if err := standby.Promote(ctx); err != nil {
			t.Fatal(err)
		}
		// A walsender of before the promotion may be told to go: look through a new one.
		c = mustConnect(t, standby)
		if in, err := c.InRecovery(ctx); err != nil || in {
			t.Errorf("InRecovery = %v, %v after the promotion", in, err)
		}
		system, err := c.Identify(ctx)
		if err != nil || system.Timeline != 2 {
			t.Fatalf("Identify = %+v, %v", system, err)
		}
		got, err := c.History(ctx, system.Timeline)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(standby.DataDir(), "pg_wal", "00000002.history"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("history = %q, want %q", got, want)
		}
		if forks, err := segment.ParseHistory(got); err != nil || len(forks) != 1 {
			t.Errorf("ParseHistory = %v, %v", forks, err)
		}
	})
}

func TestHijackedSocketStreamsAndShowsAsSender(t *testing.T) {
	ctx := testContext(t)
	s := postgres.Start(t, postgres.Options{SegmentSizeMB: 1})
	c := mustConnect(t, s)
	system, err := c.Identify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	startStream(t, c, "START_REPLICATION PHYSICAL "+system.Flush.String()+" TIMELINE 1")
	if err := c.Close(ctx); err != nil {
		t.Errorf("Close after Hijack: %v", err)
	}
	if _, err := c.Identify(ctx); err == nil {
		t.Error("a hijacked Conn takes commands")
	}
	senders, err := mustOpenSQL(t, s).Senders(ctx)
	if err != nil || len(senders) != 1 {
		t.Fatalf("Senders = %+v, %v", senders, err)
	}
	if got := senders[0]; got.PID != c.PID() || got.ApplicationName != "walkeep" || got.ClientAddr != "127.0.0.1" {
		t.Errorf("Senders = %+v, want process %d", got, c.PID())
	}
}

func TestConnectEndsAtItsTimeout(t *testing.T) {
	s := postgres.Start(t, postgres.Options{})
	if err := s.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Thaw(); err != nil {
			t.Error(err)
		}
	}()
	cfg := config(t, s.DSN())
	cfg.ConnectTimeout = 200 * time.Millisecond
	_, err := replication.Connect(testContext(t), cfg, cfg.Hosts()[0])
	if replication.Classify(err) != replication.ClassRetry {
		t.Errorf("%v is of class %s", err, replication.Classify(err))
	}
}

func TestSQLTellsRoleSettingsAndRate(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1})
		sql := mustOpenSQL(t, s)
		role, err := sql.Role(ctx)
		want := replication.Role{Name: "postgres", Superuser: true, Replication: true, ClientAddr: "127.0.0.1"}
		if err != nil || role != want {
			t.Errorf("Role = %+v, %v", role, err)
		}
		if v, err := sql.Setting(ctx, "wal_level"); err != nil || v != "replica" {
			t.Errorf("wal_level = %q, %v", v, err)
		}
		if v, err := sql.Setting(ctx, `no.such'\setting`); err != nil || v != "" {
			t.Errorf("unknown setting = %q, %v", v, err)
		}
		before, err := sql.Position(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SwitchWAL(ctx); err != nil {
			t.Fatal(err)
		}
		if after, err := sql.Position(ctx); err != nil || after <= before {
			t.Errorf("Position = %s, %v after %s", after, err, before)
		}
		if _, _, err := sql.AverageWALRate(ctx); (err != nil) != (major < 14) {
			t.Errorf("AverageWALRate: %v", err)
		}
	})
}

func TestSlotOnStandbyIsAdvanced(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1})
		standby := s.Standby(t, "", postgres.Options{})
		if err := mustConnect(t, standby).CreateSlot(ctx, "walkeep"); err != nil {
			t.Fatal(err)
		}
		sql := mustOpenSQL(t, standby)
		target, err := s.SwitchWAL(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := standby.WaitReplay(ctx, target); err != nil {
			t.Fatal(err)
		}
		if err := sql.AdvanceSlot(ctx, "walkeep", target); err != nil {
			t.Fatal(err)
		}
		slots, err := sql.Slots(ctx)
		if err != nil || len(slots) != 1 || slots[0].RestartLSN != target {
			t.Errorf("Slots = %+v, %v; want restart_lsn %s", slots, err, target)
		}
	})
}
