package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"walkeep/integration/postgres"
	"walkeep/replication"
)

// runSlot runs walkeep slot with the arguments.
func runSlot(t *testing.T, args ...string) (string, error) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	var out bytes.Buffer
	env := newEnvironment()
	env.stdout = &out
	cmd := newSlotCommand(env)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(checkContext(t))
	return out.String(), err
}

func TestSlotListAndDrop(t *testing.T) {
	s := postgres.Start(t, postgres.Options{Major: 15})
	s.MustExec(t, "SELECT pg_create_physical_replication_slot('walkeep', true)")
	text, err := runSlot(t, "list", "--primary", s.DSN())
	if err != nil || !strings.Contains(text, "walkeep") || !strings.Contains(text, "nobody") || !strings.Contains(text, "reserved") {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = runSlot(t, "list", "--primary", s.DSN(), "--json")
	var list struct{ Hosts []slotList }
	if err != nil || json.Unmarshal([]byte(text), &list) != nil || len(list.Hosts) != 1 || len(list.Hosts[0].Slots) != 1 || list.Hosts[0].Slots[0].RestartLSN == 0 {
		t.Errorf("%v\n%s", err, text)
	}

	text, err = runSlot(t, "drop", "--primary", s.DSN())
	if err != nil || !strings.Contains(text, "would drop slot walkeep") || s.MustQuery(t, "SELECT count(*) FROM pg_replication_slots") != "1" {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = runSlot(t, "drop", "--primary", s.DSN(), "--apply")
	if err != nil || !strings.Contains(text, "dropped slot walkeep") || s.MustQuery(t, "SELECT count(*) FROM pg_replication_slots") != "0" {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = runSlot(t, "drop", "--primary", s.DSN(), "--apply", "--json")
	if err != nil || !strings.Contains(text, `"none"`) {
		t.Errorf("%v\n%s", err, text)
	}
	if text, err = runSlot(t, "list", "--primary", s.DSN()); err != nil || !strings.Contains(text, "none") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestS17SlotInUseIsNeverDropped(t *testing.T) {
	ctx := checkContext(t)
	s := postgres.Start(t, postgres.Options{Major: 15, Config: map[string]string{"wal_level": "logical"}})
	s.MustExec(t, "SELECT pg_create_physical_replication_slot('walkeep', true)")
	s.MustExec(t, "SELECT pg_create_logical_replication_slot('other', 'pgoutput')")
	holdSlot(ctx, t, s, "walkeep")
	for _, apply := range [][]string{nil, {"--apply"}} {
		text, err := runSlot(t, append([]string{"drop", "--primary", s.DSN()}, apply...)...)
		if err == nil || !strings.Contains(err.Error(), "in use by process") {
			t.Errorf("%v: %v\n%s", apply, err, text)
		}
	}
	if _, err := runSlot(t, "drop", "--slot", "other", "--primary", s.DSN(), "--apply"); err == nil || !strings.Contains(err.Error(), "logical") {
		t.Errorf("logical slot: %v", err)
	}
	if n := s.MustQuery(t, "SELECT count(*) FROM pg_replication_slots"); n != "2" {
		t.Errorf("%s slots are left", n)
	}
	slot := wantStatus(t, checkServer(t, s.DSN()), "slot", checkOK)
	if !strings.Contains(slot.Detail, "in use by walkeep from 127.0.0.1") {
		t.Errorf("slot: %+v", slot)
	}
}

// holdSlot streams from a slot until the test ends.
func holdSlot(ctx context.Context, t *testing.T, s *postgres.Server, name string) {
	t.Helper()
	cfg, err := replication.ParseDSN(s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := replication.Connect(ctx, cfg, cfg.Hosts()[0])
	if err != nil {
		t.Fatal(err)
	}
	system, err := conn.Identify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	query := "START_REPLICATION SLOT " + quoteIdentifier(name) + " PHYSICAL " + system.Flush.String() + " TIMELINE 1\x00"
	message := append([]byte{'Q', 0, 0, 0, byte(len(query) + 4)}, query...)
	if _, err := socket.Write(message); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if _, err := socket.Read(answer); err != nil || answer[0] != 'W' {
		t.Fatalf("START_REPLICATION answers %q, %v", answer, err)
	}
}

func TestSlotDropSaysOnceWhatIsWrong(t *testing.T) {
	_, err := runSlot(t, "drop", "--primary", "host=127.0.0.1 port=1 user=x sslmode=disable")
	if err == nil || strings.Count(err.Error(), "connection refused") != 1 {
		t.Errorf("error = %v", err)
	}
}
