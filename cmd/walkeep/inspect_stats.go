package main

import (
	"fmt"
	"io"
	"time"

	"walkeep/segment"
	"walkeep/segment/record"
)

// A recordStats counts records by resource manager and operation, as pg_waldump --stats does.
type recordStats struct {
	env      *environment
	json     bool
	byRecord bool
	line     *walLine

	version record.Version
	counts  [256][16]recordCount
	total   recordCount
	commits int
	aborts  int
	first   time.Time // of the commits
	last    time.Time
}

type recordCount struct {
	Records     int64 `json:"records"`
	RecordBytes int64 `json:"record_bytes"` // without images
	ImageBytes  int64 `json:"image_bytes"`
}

func (c *recordCount) add(o recordCount) {
	c.Records += o.Records
	c.RecordBytes += o.RecordBytes
	c.ImageBytes += o.ImageBytes
}

func newRecordStats(env *environment, o inspectOptions, line *walLine) *recordStats {
	return &recordStats{env: env, json: o.json, byRecord: o.stats == statsByRecord, line: line}
}

func (s *recordStats) record(v record.Version, c record.Record, b *record.Body, t *record.Transaction) error {
	images := int64(b.ImageBytes())
	one := recordCount{Records: 1, RecordBytes: int64(c.Length) - images, ImageBytes: images}
	s.version = v
	s.counts[c.RMID][record.OpCode(c.RMID, c.Info)>>4].add(one)
	s.total.add(one)
	switch {
	case t == nil:
	case t.IsCommitted:
		s.commits++
		if s.first.IsZero() || t.Time.Before(s.first) {
			s.first = t.Time
		}
		if t.Time.After(s.last) {
			s.last = t.Time
		}
	default:
		s.aborts++
	}
	return nil
}

// A statsRow is one line of the statistics.
type statsRow struct {
	Manager string `json:"rmgr"`
	Op      string `json:"op,omitempty"`
	recordCount
}

// rows are the lines as pg_waldump has them: by record those that occur, by resource manager all of PostgreSQL's own.
func (s *recordStats) rows() []statsRow {
	rows := []statsRow{}
	for id := range s.counts {
		manager := statsRow{Manager: record.ManagerName(uint8(id))}
		for op, count := range s.counts[id] {
			manager.add(count)
			if s.byRecord && count.Records > 0 {
				name := record.OpName(s.version, uint8(id), uint8(op<<4))
				rows = append(rows, statsRow{manager.Manager, name, count})
			}
		}
		if !s.byRecord && (id < record.BuiltinManagers || manager.Records > 0) {
			rows = append(rows, manager)
		}
	}
	return rows
}

func (s *recordStats) finish() error {
	if s.json {
		return s.printJSON()
	}
	return s.print(s.env.stdout)
}

func (s *recordStats) printJSON() error {
	out := struct {
		Lineage     segment.Lineage `json:"lineage"`
		From        segment.LSN     `json:"from"`
		To          segment.LSN     `json:"to"`
		Types       []statsRow      `json:"types"`
		Total       recordCount     `json:"total"`
		Commits     int             `json:"commits"`
		Aborts      int             `json:"aborts"`
		FirstCommit *string         `json:"first_commit_time"`
		LastCommit  *string         `json:"last_commit_time"`
	}{
		Lineage: s.line.branch.Lineage, From: s.line.from, To: s.line.to, Types: s.rows(), Total: s.total,
		Commits: s.commits, Aborts: s.aborts,
	}
	if s.commits > 0 {
		first, last := timeJSON(s.first), timeJSON(s.last)
		out.FirstCommit, out.LastCommit = &first, &last
	}
	return s.env.printJSON(out)
}

// print writes the table of pg_waldump (bin/pg_waldump/pg_waldump.c: XLogDumpDisplayStats) and, below, the commits.
func (s *recordStats) print(w io.Writer) error {
	p := reporter{w: w}
	p.say("WAL statistics between %s and %s:\n", s.line.from, s.line.to)
	const heading = "%-27s %20s %8s %20s %8s %20s %8s %20s %8s\n"
	p.say(heading, "Type", "N", "(%)", "Record size", "(%)", "FPI size", "(%)", "Combined size", "(%)")
	p.say(heading, "----", "-", "---", "-----------", "---", "--------", "---", "-------------", "---")
	all := s.total.RecordBytes + s.total.ImageBytes
	for _, r := range s.rows() {
		name, sum := r.Manager, r.RecordBytes+r.ImageBytes
		if s.byRecord {
			name += "/" + r.Op
		}
		p.say("%-27s %20d (%6.2f) %20d (%6.2f) %20d (%6.2f) %20d (%6.2f)\n", name, r.Records, percent(r.Records, s.total.Records),
			r.RecordBytes, percent(r.RecordBytes, s.total.RecordBytes), r.ImageBytes, percent(r.ImageBytes, s.total.ImageBytes),
			sum, percent(sum, all))
	}
	p.say("%-27s %20s %8s %20s %8s %20s %8s %20s\n", "", "--------", "", "--------", "", "--------", "", "--------")
	share := func(n int64) string { return fmt.Sprintf("[%.2f%%]", percent(n, all)) }
	p.say("%-27s %20d %-9s%20d %-9s%20d %-9s%20d %-6s\n", "Total", s.total.Records, "", s.total.RecordBytes, share(s.total.RecordBytes),
		s.total.ImageBytes, share(s.total.ImageBytes), all, "[100%]")
	p.say("\n%d commits, %d aborts", s.commits, s.aborts)
	if s.commits > 0 {
		p.say("; committed from %s to %s", timeJSON(s.first), timeJSON(s.last))
	}
	p.say("\n")
	return p.err
}

func percent(n, total int64) float64 {
	if total == 0 {
		return 0
	}
	return 100 * float64(n) / float64(total)
}

// A reporter writes lines and remembers the first error.
type reporter struct {
	w   io.Writer
	err error
}

func (r *reporter) say(format string, args ...any) {
	if r.err == nil {
		if _, err := fmt.Fprintf(r.w, format, args...); err != nil {
			r.err = fmt.Errorf("write result: %w", err)
		}
	}
}
