package replication_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
	"walkeep/replication"
)

func wantClass(t *testing.T, what string, err error, want replication.Class) {
	t.Helper()
	if got := replication.Classify(err); got != want {
		t.Errorf("%s: %v is of class %s, want %s", what, err, got, want)
	}
}

func TestClassifyCommandErrors(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1, Config: map[string]string{
			"max_replication_slots": "1", "max_wal_size": "2MB", "min_wal_size": "2MB",
		}})
		c := mustConnect(t, s)
		wantClass(t, "missing slot", c.Exec(ctx, `START_REPLICATION SLOT "none" PHYSICAL 0/100000 TIMELINE 1`), replication.ClassSlotMissing)
		wantClass(t, "foreign timeline", c.Exec(ctx, "START_REPLICATION PHYSICAL 0/100000 TIMELINE 99"), replication.ClassReconcile)
		wantClass(t, "ahead of flush", c.Exec(ctx, "START_REPLICATION PHYSICAL FF/0 TIMELINE 1"), replication.ClassReconcile)
		wantClass(t, "lower case", c.Exec(ctx, "show wal_level"), replication.ClassBug)
		wantClass(t, "SQL", c.Exec(ctx, "SELECT 1"), replication.ClassBug)
		_, err := c.History(ctx, 7)
		wantClass(t, "no history", err, replication.ClassWALRemoved)
		for range 5 {
			if _, err := s.SwitchWAL(ctx); err != nil {
				t.Fatal(err)
			}
		}
		s.MustExec(t, "CHECKPOINT")
		wantClass(t, "removed WAL", c.Exec(ctx, "START_REPLICATION PHYSICAL 0/100000 TIMELINE 1"), replication.ClassWALRemoved)
		if err := c.CreateSlot(ctx, "one"); err != nil {
			t.Fatal(err)
		}
		wantClass(t, "no free slot", c.CreateSlot(ctx, "two"), replication.ClassLimits)
		s.MustExec(t, "SELECT pg_terminate_backend($1::int)", c.PID())
		wantClass(t, "terminated", c.Exec(ctx, "IDENTIFY_SYSTEM"), replication.ClassRetry)
		wantClass(t, "closed", c.Exec(ctx, "IDENTIFY_SYSTEM"), replication.ClassRetry)
	})
}

func TestClassifyTimelineErrors(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		ctx := testContext(t)
		standby := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1}).Standby(t, "", postgres.Options{})
		if err := standby.Promote(ctx); err != nil {
			t.Fatal(err)
		}
		wantClass(t, "behind the fork", mustConnect(t, standby).Exec(ctx, "START_REPLICATION PHYSICAL F/0 TIMELINE 1"),
			replication.ClassReconcile)
	})
}

func TestClassifyConnectErrors(t *testing.T) {
	forMajors(t, []int{13, 15, 18}, func(t *testing.T, major int) {
		s := postgres.Start(t, postgres.Options{Major: major, Config: map[string]string{
			"password_encryption": "scram-sha-256", "max_wal_senders": "1",
		}})
		s.MustExec(t, "CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'right'; CREATE ROLE app LOGIN PASSWORD 'right'")
		setHBA(t, s, "host all postgres 127.0.0.1/32 trust", "host replication keeper,app 127.0.0.1/32 scram-sha-256",
			"host replication absent 127.0.0.1/32 trust")
		dsn := func(user, password string) string {
			return fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s sslmode=disable", s.Port, user, password)
		}
		wantClass(t, "no pg_hba line", connectSettled(t, dsn("postgres", "x")), replication.ClassAuth)
		wantClass(t, "wrong password", connectSettled(t, dsn("keeper", "wrong")), replication.ClassAuth)
		wantClass(t, "no REPLICATION", connectSettled(t, dsn("app", "right")), replication.ClassAuth)
		wantClass(t, "no such role", connectSettled(t, dsn("absent", "x")), replication.ClassAuth)
		if err := connectSettled(t, dsn("keeper", "right")); err != nil {
			t.Fatal(err)
		}
		_, err := connectTo(t, dsn("keeper", "right"))
		wantClass(t, "no free walsender", err, replication.ClassLimits)
		_, err = connectTo(t, dsn("keeper", "right")+" sslmode=require")
		if err == nil {
			t.Error("sslmode=require connects without TLS")
		}
	})
}

// connectSettled connects to a server with one walsender, which may still be busy refusing the one before.
func connectSettled(t *testing.T, dsn string) error {
	t.Helper()
	var result error
	err := poll.Until(testContext(t), "the walsender before to leave", func(context.Context) (bool, error) {
		_, result = connectTo(t, dsn)
		return replication.Classify(result) != replication.ClassLimits, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestClassifyUnreachableServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = connectTo(t, fmt.Sprintf("host=127.0.0.1 port=%d user=u sslmode=prefer", address.Port))
	wantClass(t, "refused", err, replication.ClassRetry)
	if n := strings.Count(err.Error(), "connection refused"); n != 1 {
		t.Errorf("said %d times: %v", n, err)
	}
	_, err = connectTo(t, "host=no-such-host.invalid user=u")
	wantClass(t, "unknown host", err, replication.ClassRetry)
}

func TestClassifyWithoutText(t *testing.T) {
	server := func(code, routine string) error {
		return fmt.Errorf("start: %w", &pgconn.PgError{Severity: "ОШИБКА", SeverityUnlocalized: "ERROR", Code: code, Routine: routine})
	}
	for _, test := range []struct {
		err  error
		want replication.Class
	}{
		{nil, replication.ClassNone},
		{server("57P01", "ProcessInterrupts"), replication.ClassRetry},
		{server("57P02", "quickdie"), replication.ClassRetry},
		{server("57P03", "ProcessStartupPacket"), replication.ClassRetry},
		{server("08006", ""), replication.ClassRetry},
		{server("55006", "ReplicationSlotAcquire"), replication.ClassSlotActive},
		{server("55000", "ReplicationSlotAcquire"), replication.ClassSlotInvalid},
		{server("55000", "exec_replication_command"), replication.ClassRetry},
		{server("55000", "CheckSlotRequirements"), replication.ClassLimits},
		{server("55000", "somewhere_new"), replication.ClassUnknown},
		{server("XX000", "StartReplication"), replication.ClassReconcile},
		{server("XX000", "ReplicationSlotReserveWal"), replication.ClassRetry},
		{server("XX000", "CheckXLogRemoved"), replication.ClassWALRemoved},
		{server("XX001", "ReadPageInternal"), replication.ClassUnknown},
		{server("3D000", ""), replication.ClassAuth},
		{server("53300", "InitProcess"), replication.ClassLimits},
		{server("", ""), replication.ClassUnknown},
		{fmt.Errorf("tls: %w", &tls.CertificateVerificationError{Err: io.EOF}), replication.ClassAuth},
		{fmt.Errorf("tls: %w", x509.CertificateInvalidError{Reason: x509.Expired}), replication.ClassAuth},
		{io.EOF, replication.ClassRetry},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), replication.ClassRetry},
		{context.DeadlineExceeded, replication.ClassRetry},
		{net.ErrClosed, replication.ClassRetry},
		{replication.ErrUnsupported, replication.ClassBug},
		{errors.New("another"), replication.ClassUnknown},
	} {
		wantClass(t, "synthetic", test.err, test.want)
	}
	if replication.ClassUnknown.String() != "unknown" || replication.ClassNone.String() != "none" {
		t.Error("names of classes are out of step")
	}
}

func TestSlotHolderInAnyLanguage(t *testing.T) {
	for message, want := range map[string]int{
		`replication slot "walkeep" is active for PID 4711`:          4711,
		`replication slot "walkeep_2" is active for PID 4711`:        4711,
		`Replikations-Slot »slot5« ist aktiv für PID 4711`:           4711,
		`レプリケーションスロット"walkeep"はPID4711で使用中です`:                        4711,
		`slot de réplication « walkeep » est actif pour le PID 4711`: 4711,
		`replication slot "walkeep_9" is active`:                     0,
	} {
		pid, ok := replication.SlotHolder(&pgconn.PgError{Code: "55006", Message: message})
		if pid != want || ok != (want != 0) {
			t.Errorf("%s: %d, %v", message, pid, ok)
		}
	}
	if _, ok := replication.SlotHolder(&pgconn.PgError{Code: "55000", Message: "PID 1"}); ok {
		t.Error("an error of another kind names a holder")
	}
}
