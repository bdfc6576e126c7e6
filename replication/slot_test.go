package replication_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"walkeep/integration/postgres"
	"walkeep/replication"
	"walkeep/segment"
)

func TestSlotIsCreatedReadAndDropped(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1})
		c := mustConnect(t, s)
		// A name that is a keyword and begins with a digit needs quotes.
		for _, name := range []string{"walkeep", "physical", "2nd"} {
			if err := c.DropSlot(ctx, name); !errors.Is(err, replication.ErrSlotMissing) {
				t.Errorf("drop missing %s: %v", name, err)
			}
			if err := c.CreateSlot(ctx, name); err != nil {
				t.Errorf("create %s: %v", name, err)
			}
			if err := c.CreateSlot(ctx, name); !errors.Is(err, replication.ErrSlotExists) {
				t.Errorf("create %s again: %v", name, err)
			}
			readSlotOf(t, s, c, name)
			if err := c.DropSlot(ctx, name); err != nil {
				t.Errorf("drop %s: %v", name, err)
			}
		}
	})
}

// readSlotOf checks both ways to read a new slot, which has reserved WAL.
func readSlotOf(t *testing.T, s *postgres.Server, c *replication.Conn, name string) {
	t.Helper()
	ctx := testContext(t)
	slots, err := mustOpenSQL(t, s).Slots(ctx)
	if err != nil || len(slots) != 1 {
		t.Fatalf("Slots = %+v, %v", slots, err)
	}
	info := slots[0]
	if info.Name != name || info.Type != "physical" || info.Active || info.ActivePID != 0 ||
		info.RestartLSN == 0 || info.WALStatus != "reserved" || info.Lost() {
		t.Errorf("SlotInfo = %+v", info)
	}
	slot, err := c.ReadSlot(ctx, name)
	if c.ServerVersion() < 150000 {
		if !errors.Is(err, replication.ErrUnsupported) {
			t.Errorf("ReadSlot on %d: %v", c.ServerVersion(), err)
		}
		return
	}
	want := replication.Slot{Name: name, Exists: true, RestartLSN: info.RestartLSN, RestartTimeline: 1}
	if err != nil || slot != want {
		t.Errorf("ReadSlot = %+v, %v; want %+v", slot, err, want)
	}
	if slot, err := c.ReadSlot(ctx, "another"); err != nil || slot.Exists {
		t.Errorf("ReadSlot of none = %+v, %v", slot, err)
	}
}

func TestS17ActiveSlotNamesItsHolder(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1})
		holder, c := mustConnect(t, s), mustConnect(t, s)
		const name = "walkeep_2024"
		if err := c.CreateSlot(ctx, name); err != nil {
			t.Fatal(err)
		}
		system, err := c.Identify(ctx)
		if err != nil {
			t.Fatal(err)
		}
		start := `START_REPLICATION SLOT "` + name + `" PHYSICAL ` + system.Flush.String() + " TIMELINE 1"
		startStream(t, holder, start)
		for what, err := range map[string]error{"start": c.Exec(ctx, start), "drop": c.DropSlot(ctx, name)} {
			if class := replication.Classify(err); class != replication.ClassSlotActive {
				t.Errorf("%s: %v is of class %s", what, err, class)
			}
			if pid, ok := replication.SlotHolder(err); !ok || pid != holder.PID() {
				t.Errorf("%s: SlotHolder(%v) = %d, %v; want %d", what, err, pid, ok, holder.PID())
			}
		}
		slots, err := mustOpenSQL(t, s).Slots(ctx)
		if err != nil || len(slots) != 1 || !slots[0].Active || slots[0].ActivePID != holder.PID() {
			t.Errorf("Slots = %+v, %v; want active for %d", slots, err, holder.PID())
		}
	})
}

func TestS16LostSlotIsSeenOnEveryVersion(t *testing.T) {
	forMajors(t, []int{13, 15, 16, 17, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1, Config: map[string]string{
			"max_slot_wal_keep_size": "1MB", "max_wal_size": "2MB", "min_wal_size": "2MB",
		}})
		c := mustConnect(t, s)
		if err := c.CreateSlot(ctx, "walkeep"); err != nil {
			t.Fatal(err)
		}
		sql := mustOpenSQL(t, s)
		slots, err := sql.Slots(ctx)
		if err != nil || len(slots) != 1 || slots[0].Lost() {
			t.Fatalf("Slots = %+v, %v", slots, err)
		}
		restart := slots[0].RestartLSN
		waitLost(t, s, "walkeep")
		slots, err = sql.Slots(ctx)
		if err != nil || len(slots) != 1 || !slots[0].Lost() {
			t.Fatalf("Slots = %+v, %v", slots, err)
		}
		if major >= 15 {
			if slot, err := c.ReadSlot(ctx, "walkeep"); err != nil || !slot.Exists || slot.RestartLSN != 0 {
				t.Errorf("ReadSlot = %+v, %v", slot, err)
			}
		}
		if major >= 17 && (slots[0].InvalidationReason != "wal_removed" || slots[0].InactiveSince == nil) {
			t.Errorf("Slots = %+v", slots[0])
		}
		// What was removed is gone on all versions; 18 says that the slot is, too.
		err = c.Exec(ctx, `START_REPLICATION SLOT "walkeep" PHYSICAL `+restart.String()+" TIMELINE 1")
		want := replication.ClassWALRemoved
		if major >= 18 {
			want = replication.ClassSlotInvalid
		}
		if class := replication.Classify(err); class != want {
			t.Errorf("%v is of class %s, want %s", err, class, want)
		}
	})
}

func TestReadSlotRefusesLogicalSlot(t *testing.T) {
	s := postgres.Start(t, postgres.Options{Config: map[string]string{"wal_level": "logical"}})
	s.MustExec(t, "SELECT pg_create_logical_replication_slot('decoder', 'pgoutput')")
	if _, err := mustConnect(t, s).ReadSlot(testContext(t), "decoder"); !errors.Is(err, replication.ErrSlotLogical) {
		t.Errorf("ReadSlot: %v", err)
	}
}

func TestValidateSlotName(t *testing.T) {
	for _, good := range []string{"a", "walkeep", "0_z", strings.Repeat("x", 63)} {
		if err := replication.ValidateSlotName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "Walkeep", "a-b", "a b", `a"b`, "ä", strings.Repeat("x", 64)} {
		if replication.ValidateSlotName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestS14NewSlotKeepsWALOverSwitchAndCheckpoint(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1, Config: map[string]string{
			"max_wal_size": "2MB", "min_wal_size": "2MB",
		}})
		c := mustConnect(t, s)
		if err := c.CreateSlot(ctx, "walkeep"); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			if _, err := s.SwitchWAL(ctx); err != nil {
				t.Fatal(err)
			}
		}
		s.MustExec(t, "CHECKPOINT")
		slots, err := mustOpenSQL(t, s).Slots(ctx)
		if err != nil || len(slots) != 1 || slots[0].RestartLSN == 0 || slots[0].Lost() {
			t.Fatalf("Slots = %+v, %v", slots, err)
		}
		size, err := c.SegmentSize(ctx)
		if err != nil {
			t.Fatal(err)
		}
		start := size.Start(slots[0].RestartLSN)
		receiveAt(t, c, `START_REPLICATION SLOT "walkeep" PHYSICAL `+start.String()+" TIMELINE 1", start)
	})
}

// receiveAt starts a stream and wants its first WAL to begin at lsn.
func receiveAt(t *testing.T, c *replication.Conn, command string, lsn segment.LSN) {
	t.Helper()
	socket, err := c.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	frontend := pgproto3.NewFrontend(socket, socket)
	frontend.Send(&pgproto3.Query{String: command})
	if err := frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := frontend.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.CopyBothResponse:
		case *pgproto3.CopyData:
			if m.Data[0] != 'w' {
				continue
			}
			if got := segment.LSN(binary.BigEndian.Uint64(m.Data[1:9])); got != lsn {
				t.Errorf("first WAL begins at %s, want %s", got, lsn)
			}
			return
		default:
			t.Fatalf("%s: got %T %+v", command, m, m)
		}
	}
}
