package dashboard

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
)

// A collector turns one snapshot into metrics for each scrape.
type collector struct {
	snapshot func() Status
	numbers  []number
	state    *prometheus.Desc
	build    *prometheus.Desc
}

// A number is one metric without labels. read returns false if there is nothing to report.
type number struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(Status) (float64, bool)
}

func newCollector(snapshot func() Status) *collector {
	c := &collector{
		snapshot: snapshot,
		state: prometheus.NewDesc("walkeep_state",
			"1 for the state the receiver is in, 0 for the others.", []string{"state"}, nil),
		build: prometheus.NewDesc("walkeep_build_info",
			"Always 1; the labels tell which walkeep this is.", []string{"version", "goversion"}, nil),
	}
	c.addGauges()
	c.addCounters()
	return c
}

func (c *collector) add(kind prometheus.ValueType, name, help string, read func(Status) (float64, bool)) {
	c.numbers = append(c.numbers, number{prometheus.NewDesc("walkeep_"+name, help, nil, nil), kind, read})
}

func (c *collector) addGauges() {
	gauge := func(name, help string, read func(Status) (float64, bool)) {
		c.add(prometheus.GaugeValue, name, help, read)
	}
	gauge("healthy", "1 if the archive is healthy, as /healthz says.",
		func(s Status) (float64, bool) { return flag(s.Health() == "") })
	gauge("lag_bytes", "WAL flushed by the server and not yet durable; a lower bound if walkeep_lag_known is 0.",
		func(s Status) (float64, bool) { return float64(s.LagBytes), true })
	gauge("lag_seconds", "Age of the oldest WAL not yet durable; a lower bound if walkeep_lag_known is 0.",
		func(s Status) (float64, bool) { return s.LagSeconds, true })
	gauge("lag_known", "1 if the server was heard of in time, so that the lag is exact.",
		func(s Status) (float64, bool) { return flag(s.LagKnown) })
	gauge("commits_at_risk", "Transactions committed, received and not yet durable.",
		func(s Status) (float64, bool) { return float64(s.CommitsAtRisk), true })
	gauge("last_commit_timestamp_seconds", "Time of the last commit received, by the server's clock.",
		func(s Status) (float64, bool) {
			return float64(s.LastCommitTime.UnixMicro()) / 1e6, !s.LastCommitTime.IsZero()
		})
	gauge("server_flush_lsn_bytes", "Position up to which the server has flushed WAL.",
		func(s Status) (float64, bool) { return position(s.ServerFlushLSN) })
	gauge("received_lsn_bytes", "Position up to which WAL was received.",
		func(s Status) (float64, bool) { return position(s.ReceivedLSN) })
	gauge("durable_lsn_bytes", "Position up to which all WAL is in the store.",
		func(s Status) (float64, bool) { return position(s.DurableLSN) })
	gauge("acked_lsn_bytes", "Position last acknowledged to the server.",
		func(s Status) (float64, bool) { return position(s.AckedLSN) })
	gauge("gaps", "Ranges of WAL that are missing and not acknowledged by an operator.",
		func(s Status) (float64, bool) { return float64(len(s.openGaps())), true })
	gauge("buffers", "Segment buffers allocated at the start.",
		func(s Status) (float64, bool) { return float64(s.Buffers.Total), true })
	gauge("buffers_free", "Segment buffers that hold nothing.",
		func(s Status) (float64, bool) { return float64(s.Buffers.Free), true })
	gauge("uploads_in_flight", "Uploads under way.",
		func(s Status) (float64, bool) { return float64(s.Uploads.InFlight), true })
	gauge("uploads_in_flight_bytes", "Bytes of the uploads under way.",
		func(s Status) (float64, bool) { return float64(s.Uploads.BytesInFlight), true })
	gauge("slot_retained_bytes", "WAL the server keeps for the replication slot.",
		func(s Status) (float64, bool) { return float64(s.Slot.RetainedBytes), s.Slot.RestartLSN != "" })
	gauge("slot_safe_wal_bytes", "WAL the server can still write before the slot is in danger; absent if unlimited.",
		func(s Status) (float64, bool) {
			if s.Slot.SafeWALSize == nil {
				return 0, false
			}
			return float64(*s.Slot.SafeWALSize), true
		})
}

func (c *collector) addCounters() {
	counter := func(name, help string, read func(Status) int64) {
		c.add(prometheus.CounterValue, name, help, func(s Status) (float64, bool) { return float64(read(s)), true })
	}
	counter("segments_uploaded_total", "Whole segments stored.", func(s Status) int64 { return s.SegmentsUploaded })
	counter("links_uploaded_total", "Tail links stored.", func(s Status) int64 { return s.LinksUploaded })
	counter("received_bytes_total", "WAL received.", func(s Status) int64 { return s.BytesReceived })
	counter("stored_bytes_total", "Bytes stored, as stored.", func(s Status) int64 { return s.BytesStored })
	counter("unchecked_bytes_total", "WAL archived without a check of its records.",
		func(s Status) int64 { return s.UncheckedBytes })
	counter("upload_retries_total", "Upload attempts after the first.", func(s Status) int64 { return s.Uploads.Retries })
	counter("reconnects_total", "Streams begun after the first.", func(s Status) int64 { return s.Reconnects })
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, n := range c.numbers {
		ch <- n.desc
	}
	ch <- c.state
	ch <- c.build
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.snapshot()
	for _, n := range c.numbers {
		if v, ok := n.read(s); ok {
			ch <- prometheus.MustNewConstMetric(n.desc, n.kind, v)
		}
	}
	for _, state := range States() {
		v, _ := flag(s.State == state)
		ch <- prometheus.MustNewConstMetric(c.state, prometheus.GaugeValue, v, string(state))
	}
	ch <- prometheus.MustNewConstMetric(c.build, prometheus.GaugeValue, 1, s.Version, runtime.Version())
}

func flag(b bool) (float64, bool) {
	if b {
		return 1, true
	}
	return 0, true
}

// position reports nothing for an unknown position: 0 would look like a loss of everything.
func position(s string) (float64, bool) {
	lsn, ok := parseLSN(s)
	return float64(lsn), ok
}
