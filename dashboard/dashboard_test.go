package dashboard

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is the time of every snapshot in these tests.
var now = time.Date(2026, 11, 24, 2, 13, 7, 123456000, time.UTC)

func ago(d time.Duration) Time { return At(now.Add(-d)) }

// streaming is a receiver in good health with a little lag; edit changes it.
func streaming(edit func(*Status)) Status {
	room := int64(31 << 30)
	s := Status{
		Time: At(now), State: Streaming, StateSince: ago(50 * time.Hour),
		Repo: "s3://acme/prod", SystemID: "7301234567890123456", Timeline: 3, Lineage: "00000003-5f3a91c0",
		Server:         Server{Host: "db1.example.com", Port: 5432, Version: "16.14"},
		ServerFlushLSN: "4A/1A2B3C40", ReceivedLSN: "4A/1A2B3C40", DurableLSN: "4A/1A2A0000", AckedLSN: "4A/1A2A0000",
		LagBytes: 80960, LagSeconds: 0.6, LagKnown: true, LagKnownAt: ago(time.Second), SilenceLimit: 30,
		CommitsAtRisk: 14, LastCommitTime: ago(200 * time.Millisecond),
		Slot: Slot{
			Name: "walkeep", Active: true, RestartLSN: "4A/1A000000", WALStatus: "reserved",
			SafeWALSize: &room, RetainedBytes: 2 << 20,
		},
		Buffers: Buffers{Total: 8, Free: 6}, Uploads: Uploads{InFlight: 2, BytesInFlight: 9 << 20, Retries: 88},
		SegmentsUploaded: 18234, LinksUploaded: 90211, BytesReceived: 285 << 30, BytesStored: 71 << 30,
		Reconnects: 3, StartedAt: ago(50 * time.Hour), Version: "v0.1.0",
	}
	if edit != nil {
		edit(&s)
	}
	return s
}

func lostGap() GapRange {
	return GapRange{
		Lineage: "00000003-5f3a91c0", From: "49/F0000000", To: "4A/10000000", Kind: "lost",
		Reason: "the server had removed the WAL", DetectedAt: ago(9 * time.Minute),
	}
}
