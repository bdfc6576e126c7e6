package main

import (
	"context"
	"strings"
	"testing"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/replication"
)

func TestS52WrongWALLevel(t *testing.T) {
	checkMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		s := postgres.Start(t, postgres.Options{Major: major, Config: map[string]string{
			"wal_level": "minimal", "max_wal_senders": "0",
		}})
		r := checkServer(t, s.DSN())
		applySQL(t, s, wantStatus(t, r, "wal_level", checkFail).Fix)
		applySQL(t, s, wantStatus(t, r, "walsenders", checkFail).Fix)
		restart(t, s)
		if r = checkServer(t, s.DSN()); !r.OK {
			t.Error(reportText(t, r))
		}
		wantStatus(t, r, "wal_level", checkOK)
	})
}

func TestS52NoFreeWalsenderOrSlot(t *testing.T) {
	checkMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := checkContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, Config: map[string]string{
			"max_wal_senders": "1", "max_replication_slots": "1",
		}})
		s.MustExec(t, "SELECT pg_create_physical_replication_slot('another')")
		r := checkServer(t, s.DSN())
		one := wantStatus(t, r, "walsenders", checkWarn)
		slots := wantStatus(t, r, "slots", checkFail)
		if !strings.Contains(slots.Fix, "another") {
			t.Errorf("slots: %+v", slots)
		}
		cfg, err := replication.ParseDSN(s.DSN())
		if err != nil {
			t.Fatal(err)
		}
		var conn *replication.Conn
		// The walsender of the check may still be leaving.
		err = poll.Until(ctx, "a free walsender", func(ctx context.Context) (bool, error) {
			conn, err = replication.Connect(ctx, cfg, cfg.Hosts()[0])
			if replication.Classify(err) == replication.ClassLimits {
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			t.Fatal(err)
		}
		full := wantStatus(t, checkServer(t, s.DSN()), "walsenders", checkFail)
		if err := conn.Close(ctx); err != nil {
			t.Error(err)
		}
		for _, fix := range []string{one.Fix, full.Fix, slots.Fix} {
			applySQL(t, s, fix)
		}
		restart(t, s)
		r = checkServer(t, s.DSN())
		wantStatus(t, r, "walsenders", checkOK)
		wantStatus(t, r, "slots", checkOK)
	})
}

func TestS52DangerousSettings(t *testing.T) {
	config := map[string]string{
		"wal_sender_timeout": "0", "idle_replication_slot_timeout": "1h", "synchronous_standby_names": "walkeep",
		"synchronized_standby_slots": "walkeep", "max_slot_wal_keep_size": "-1", "synchronous_commit": "local",
	}
	s := postgres.Start(t, postgres.Options{Major: 18, Config: config})
	r := checkServer(t, s.DSN())
	for _, item := range []string{"sender_timeout", "idle_slot", "slot_limit", "fsync"} {
		applySQL(t, s, wantStatus(t, r, item, checkWarn).Fix)
	}
	wantStatus(t, r, "synchronous", checkWarn)
	wantStatus(t, r, "logical_failover", checkWarn)
	if !r.OK {
		t.Errorf("warnings fail:%s", reportText(t, r))
	}
	r = checkServer(t, s.DSN())
	wantStatus(t, r, "sender_timeout", checkOK)
	wantStatus(t, r, "slot_limit", checkOK)
	for _, result := range r.Items {
		if result.Item == "idle_slot" || result.Item == "fsync" {
			t.Errorf("still there: %+v", result)
		}
	}
}

func TestCheckTellsWhoHoldsTheSlotAndWhenItIsLost(t *testing.T) {
	checkMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := checkContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1, Config: map[string]string{
			"max_slot_wal_keep_size": "1MB", "max_wal_size": "2MB", "min_wal_size": "2MB",
		}})
		s.MustExec(t, "SELECT pg_create_physical_replication_slot('walkeep', true)")
		if slot := wantStatus(t, checkServer(t, s.DSN()), "slot", checkOK); !strings.Contains(slot.Detail, "nobody uses it") {
			t.Errorf("slot: %+v", slot)
		}
		for range 6 {
			if _, err := s.SwitchWAL(ctx); err != nil {
				t.Fatal(err)
			}
		}
		s.MustExec(t, "CHECKPOINT")
		r := checkServer(t, s.DSN())
		if slot := wantStatus(t, r, "slot", checkFail); !strings.Contains(slot.Fix, "walkeep slot drop") || r.OK {
			t.Errorf("slot: %+v", slot)
		}
	})
}
