package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"time"

	"walkeep/dashboard"
	"walkeep/replication"
	"walkeep/segment"
	"walkeep/storage"
)

// uploadWatch follows the calls of the store that fail, for the status and, now and then, the log.
type uploadWatch struct {
	log *slog.Logger

	mu        sync.Mutex
	failing   map[string]time.Time // calls that failed and are being tried again: since when
	retries   int64
	lastError string
	lastTime  time.Time
	logged    time.Time
}

func newUploadWatch(log *slog.Logger) *uploadWatch {
	return &uploadWatch{log: log, failing: map[string]time.Time{}}
}

// logInterval keeps a long outage from filling the log.
const logInterval = 10 * time.Second

// observe is a storage.RetryPolicy's Observe.
func (w *uploadWatch) observe(op, key string, attempt int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	call, now := op+" "+key, time.Now()
	if err == nil {
		delete(w.failing, call)
		if len(w.failing) == 0 {
			w.log.Info("storage answers again")
			w.logged = time.Time{}
		}
		return
	}
	if _, known := w.failing[call]; !known {
		w.failing[call] = now
	}
	w.retries++
	w.lastError, w.lastTime = err.Error(), now
	if now.Sub(w.logged) >= logInterval {
		w.logged = now
		w.log.Warn("storage call failed, trying again", "op", op, "key", key, "attempt", attempt, "permanent", storage.IsPermanent(err), "error", err)
	}
}

func (w *uploadWatch) fill(u *dashboard.Uploads) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u.Retrying, u.Retries = len(w.failing), w.retries
	u.LastError, u.LastErrorTime = w.lastError, dashboard.At(w.lastTime)
	for _, since := range w.failing {
		if u.StalledSince.IsZero() || since.Before(u.StalledSince.Time) {
			u.StalledSince = dashboard.At(since)
		}
	}
}

// dashboardStatus says in the dashboard's words what a receiver does.
func dashboardStatus(s replication.Status, uploads *uploadWatch, o receiveOptions) dashboard.Status {
	now := time.Now()
	d := dashboard.Status{
		State: dashboard.State(s.State), StateSince: dashboard.At(s.Since), Message: s.Message,
		Repo: withoutSecrets(o.repo), Timeline: int(s.Lineage.Timeline),
		ServerFlushLSN: lsnText(s.ServerFlush), ReceivedLSN: lsnText(s.Received),
		DurableLSN: lsnText(s.Durable), AckedLSN: lsnText(s.Acked),
		LagBytes: max(0, int64(s.ServerFlush)-int64(s.Durable)), LagSeconds: lagSeconds(s, now),
		LagKnown: lagKnown(s, now), LagKnownAt: dashboard.At(s.Heard),
		SilenceLimit:  (s.SenderTimeout / 2).Seconds(),
		CommitsAtRisk: int64(s.CommitsAtRisk), LastCommitTime: dashboard.At(s.LastCommit),
		Synchronous: s.Synchronous, SynchronousOnly: s.SynchronousOnly,
		Gaps: gapRanges(s), Slot: slotStatus(s, o.slot),
		Buffers:           dashboard.Buffers{Total: s.Uploads.Buffers, Free: s.Uploads.FreeBuffers},
		Uploads:           dashboard.Uploads{InFlight: s.Uploads.InFlight, BytesInFlight: int64(s.Uploads.InFlightBytes)},
		WALBytesPerSecond: s.WALRate,
		SegmentsUploaded:  s.Uploads.Segments, LinksUploaded: s.Uploads.Links,
		BytesReceived: s.BytesReceived, BytesStored: s.Uploads.StoredBytes,
		UncheckedBytes: int64(s.UncheckedBytes), Reconnects: s.Reconnects, LastError: s.LastError,
		StartedAt: dashboard.At(s.Started), Version: readBuild().Version,
	}
	if s.SystemID != 0 {
		d.SystemID = strconv.FormatUint(s.SystemID, 10)
	}
	if s.Lineage != (segment.Lineage{}) {
		d.Lineage = s.Lineage.String()
		d.Server = dashboard.Server{Host: s.Host.Name, Port: int(s.Host.Port), Version: versionText(s.Version), InRecovery: s.Standby}
	}
	if d.State == dashboard.Streaming {
		d.State, d.Message = streamingState(s)
	}
	uploads.fill(&d.Uploads)
	return d
}

// lagSeconds is the age of the oldest byte that the server has flushed, as far as we know, and the repository doesn't hold.
// While catching up, the commits that arrive tell better how old it is than when we first heard of it.
func lagSeconds(s replication.Status, now time.Time) float64 {
	if s.Durable >= s.ServerFlush {
		return 0
	}
	oldest := s.OldestAtRisk
	if oldest.IsZero() {
		oldest = s.Started
	}
	const catchingUp = 1 << 20
	if s.ServerFlush-min(s.Received, s.ServerFlush) > catchingUp && !s.LastCommit.IsZero() && s.LastCommit.Before(oldest) {
		oldest = s.LastCommit
	}
	return max(0, now.Sub(oldest).Seconds())
}

// lagKnown reports whether the server was heard of recently: it is asked at least six times in wal_sender_timeout.
func lagKnown(s replication.Status, now time.Time) bool {
	timeout := s.SenderTimeout
	if timeout == 0 {
		timeout = time.Minute
	}
	return s.State == replication.StateStreaming && now.Sub(s.Heard) < timeout*2/5
}

// streamingState is what a receiver that streams shows: what needs a person before all.
func streamingState(s replication.Status) (dashboard.State, string) {
	if len(s.Rivals) > 0 {
		return dashboard.Fork, rivalsText(s)
	}
	for _, g := range s.Gaps {
		if !g.Acknowledged {
			return dashboard.Gap, g.String()
		}
	}
	return dashboard.Streaming, s.Message
}

// rivalsText says what two histories of one timeline number mean.
func rivalsText(s replication.Status) string {
	text := fmt.Sprintf("timeline %d has two histories: this server's, and the repository also holds", uint32(s.Rivals[0].Timeline))
	if s.Lineage.Timeline == s.Rivals[0].Timeline { // not while the rest of an older timeline is archived
		text = fmt.Sprintf("timeline %d has two histories: %s is archived from this server, and the repository also holds",
			uint32(s.Lineage.Timeline), s.Lineage)
	}
	for _, l := range s.Rivals {
		text += " " + l.String()
	}
	return text + "; two servers were promoted: find out which one is right, and give up the other with walkeep timeline abandon"
}

func gapRanges(s replication.Status) []dashboard.GapRange {
	ranges := make([]dashboard.GapRange, 0, len(s.Gaps))
	for _, g := range s.Gaps {
		ranges = append(ranges, dashboard.GapRange{
			Lineage: g.Lineage.String(), From: g.From.String(), To: g.To.String(),
			Kind: string(g.Kind), Reason: g.Reason, DetectedAt: dashboard.At(g.Detected), Acknowledged: g.Acknowledged,
		})
	}
	return ranges
}

func slotStatus(s replication.Status, name string) dashboard.Slot {
	slot := dashboard.Slot{Name: name, Active: s.State == replication.StateStreaming}
	restart := s.Acked
	if s.SlotSeen {
		restart = max(restart, s.Slot.RestartLSN)
		slot.WALStatus, slot.SafeWALSize = s.Slot.WALStatus, s.Slot.SafeWALSize
		slot.Active = s.Slot.Active
		if s.Slot.SafeWALSize != nil && s.WALRate > 0 {
			seconds := max(0, float64(*s.Slot.SafeWALSize)/s.WALRate)
			slot.SafeSeconds = &seconds
		}
	}
	slot.RestartLSN = lsnText(restart)
	if restart != 0 {
		slot.RetainedBytes = max(0, int64(s.ServerFlush)-int64(restart))
	}
	return slot
}

func lsnText(l segment.LSN) string {
	if l == 0 {
		return ""
	}
	return l.String()
}

// versionText turns server_version_num into what people say: 150018 is 15.18.
func versionText(num int) string {
	if num == 0 {
		return ""
	}
	return strconv.Itoa(num/10000) + "." + strconv.Itoa(num%10000)
}

// withoutSecrets drops the query and any password of a repository's URL.
func withoutSecrets(repo string) string {
	u, err := url.Parse(repo)
	if err != nil {
		return ""
	}
	u.RawQuery, u.User = "", nil
	return u.String()
}
