package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walkeep/replication"
	"walkeep/storage"
)

func TestCheckWarnsOfMinorReleasesThatRewriteWAL(t *testing.T) {
	for version, want := range map[int]checkStatus{
		120020: checkFail, 130004: checkWarn, 130005: checkOK, 130023: checkOK, 140000: checkWarn, 140001: checkOK,
		150000: checkOK, 180004: checkOK, 190000: checkWarn,
	} {
		f := serverFacts{version: version}
		if got := f.minorVersion()[0]; got.Status != want {
			t.Errorf("%d: %+v, want %s", version, got, want)
		}
	}
}

func TestCheckReckonsTheSlotLimit(t *testing.T) {
	f := serverFacts{settings: map[string]string{"max_slot_wal_keep_size": "-1", "max_wal_size": "1GB"}}
	for rate, want := range map[float64]string{
		0:           "'4GB'",   // four times max_wal_size
		1 << 20:     "'44GB'",  // 12 h at 1 MiB/s are 42.2 GiB, and 1 GiB
		10 << 20:    "'423GB'", // 421.9 GiB and 1 GiB
		0.05 * 1024: "'4GB'",
	} {
		f.rate = walRate{known: true, sampled: rate, sampledOver: time.Second}
		if got := f.slotLimit()[0]; got.Status != checkWarn || !strings.Contains(got.Fix, want) {
			t.Errorf("rate %.0f: %+v, want %s", rate, got, want)
		}
	}
	f.rate = walRate{known: true, sampled: 1, average: 1 << 20, averageOver: time.Hour, sampledOver: time.Second}
	if got := f.slotLimit()[0]; !strings.Contains(got.Fix, "'44GB'") {
		t.Errorf("the average rate doesn't count: %+v", got)
	}
	f.settings["max_slot_wal_keep_size"] = "1GB"
	if got := f.slotLimit()[0]; got.Status != checkWarn || !strings.Contains(got.Detail, "17 minutes") {
		t.Errorf("room for 17 minutes: %+v", got)
	}
	f.settings["max_slot_wal_keep_size"] = "100GB"
	if got := f.slotLimit()[0]; got.Status != checkOK || !strings.Contains(got.Detail, "28 hours") {
		t.Errorf("room for 28 hours: %+v", got)
	}
}

func TestS19CheckWarnsBeforeTheSlotIsLost(t *testing.T) {
	safe := int64(100 << 20)
	f := serverFacts{
		slot: "walkeep", settings: map[string]string{"max_wal_size": "1GB"}, slotsKnown: true,
		slots: []replication.SlotInfo{{Name: "walkeep", Type: "physical", WALStatus: "extended", SafeWALSize: &safe}},
		rate:  walRate{known: true, average: 1 << 20, averageOver: time.Hour},
	}
	if got := f.slotRoom(); len(got) != 1 || !strings.Contains(got[0].Detail, "100 seconds") {
		t.Errorf("%+v", got)
	}
	f.rate.average = 1
	if got := f.slotRoom(); len(got) != 0 {
		t.Errorf("enough room: %+v", got)
	}
}

func TestCheckExplainsSynchronousReplication(t *testing.T) {
	for _, test := range []struct {
		setting string
		senders []string
		want    checkStatus
		detail  string
	}{
		{"", nil, checkOK, "doesn't list walkeep"},
		{"walkeep", nil, checkWarn, "every commit waits"},
		{"*", nil, checkWarn, "every commit waits"},
		{"*", []string{"walkeep"}, checkWarn, "every commit waits"},
		{"*", []string{"walkeep", "standby1"}, checkOK, "may wait"},
		{"standby1, walkeep", []string{"walkeep"}, checkOK, "may wait"},
		{"FIRST 2 (standby1, walkeep)", []string{"standby1"}, checkWarn, "every commit waits"},
	} {
		f := serverFacts{application: "walkeep", settings: map[string]string{"synchronous_standby_names": test.setting}}
		for _, name := range test.senders {
			f.senders = append(f.senders, replication.SenderInfo{ApplicationName: name})
		}
		got := f.synchronous()
		if len(got) != 1 || got[0].Status != test.want || !strings.Contains(got[0].Detail, test.detail) {
			t.Errorf("%q with %v: %+v", test.setting, test.senders, got)
		}
	}
}

func TestCheckFindsOurAddressInAnyLanguage(t *testing.T) {
	for message, want := range map[string]string{
		`no pg_hba.conf entry for replication connection from host "10.1.2.3", user "u", no encryption`:                    "10.1.2.3/32",
		`kein pg_hba.conf-Eintrag für Replikationsverbindung von Host »fe80::1%eth0«, Benutzer »u«, keine Verschlüsselung`: "fe80::1/128",
		`ホスト"2001:db8::7"、ユーザー"u"用のエントリがpg_hba.confにありません`:                                                                 "2001:db8::7/128",
		`no pg_hba.conf entry for host "[local]", user "u"`:                                                                "ADDRESS_OF_THIS_HOST/32",
	} {
		f := serverFacts{connectErr: fmt.Errorf("connect: %w", &pgconn.PgError{Code: "28000", Message: message})}
		if got := f.clientNetwork(); got != want {
			t.Errorf("%s: %s, want %s", message, got, want)
		}
	}
	f := serverFacts{connectErr: errors.New("x"), role: &replication.Role{ClientAddr: "192.0.2.1"}}
	if got := f.clientNetwork(); got != "192.0.2.1/32" {
		t.Errorf("from SQL: %s", got)
	}
}

func TestParseByteSize(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "512B": 512, "8kB": 8 << 10, "16MB": 16 << 20, "3GB": 3 << 30, "2TB": 2 << 40} {
		if got, err := parseByteSize(text); err != nil || got != want {
			t.Errorf("%s = %f, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "-1", "x", "1XB", "GB"} {
		if got, err := parseByteSize(bad); err == nil {
			t.Errorf("%s = %f", bad, got)
		}
	}
}

func TestRepositoryFixNamesWhoMustAct(t *testing.T) {
	denied := fmt.Errorf("put: %w", storage.ErrDenied)
	for _, test := range []struct {
		repo, action string
		err          error
		want         string
	}{
		{"s3://b", "s3:PutObject", denied, "arn:aws:s3:::b/*"},
		{"s3://b/x/y/", "s3:GetObject", denied, "arn:aws:s3:::b/x/y/*"},
		{"s3://b/x", "s3:ListBucket", denied, "allow s3:ListBucket on arn:aws:s3:::b to"},
		{"s3://b/x", "s3:PutObject", storage.ErrNoBucket, "create the bucket b"},
		{"s3://b/x", "s3:PutObject", context.DeadlineExceeded, "answer at all"},
		{"s3://b/x", "s3:PutObject", errors.New("?"), "endpoint"},
		{"file:///srv/wal", "s3:PutObject", denied, "read and write /srv/wal"},
		{"/srv/wal", "", errors.New("?"), "write --repo"},
	} {
		if got := repositoryFix(test.repo, test.action, test.err); !strings.Contains(got, test.want) {
			t.Errorf("%s %s %v: %q, want %q", test.repo, test.action, test.err, got, test.want)
		}
	}
}
