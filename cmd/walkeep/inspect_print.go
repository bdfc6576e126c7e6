package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"time"

	"walkeep/segment"
	"walkeep/segment/record"
)

// A recordPrinter writes one line per record.
type recordPrinter struct {
	out  *bufio.Writer
	json bool
	buf  []byte
}

func newRecordPrinter(env *environment, o inspectOptions) *recordPrinter {
	return &recordPrinter{out: bufio.NewWriterSize(env.stdout, 64<<10), json: o.json}
}

func (p *recordPrinter) record(v record.Version, c record.Record, b *record.Body, t *record.Transaction) error {
	if p.json {
		return p.recordJSON(v, c, b, t)
	}
	// The form of pg_waldump (bin/pg_waldump/pg_waldump.c: XLogDumpDisplayRecord).
	p.buf = fmt.Appendf(p.buf[:0], "rmgr: %-11s len (rec/tot): %6d/%6d, tx: %10d, lsn: %s, prev %s, desc: ",
		record.ManagerName(c.RMID), int(c.Length)-b.ImageBytes(), c.Length, c.XID, paddedLSN(c.LSN), paddedLSN(c.Prev))
	p.buf = append(record.Describe(p.buf, v, c, b), '\n')
	return p.write()
}

func (p *recordPrinter) write() error {
	if _, err := p.out.Write(p.buf); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func (p *recordPrinter) finish() error {
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func paddedLSN(l segment.LSN) string { return fmt.Sprintf("%X/%08X", uint32(l>>32), uint32(l)) }

// recordLine is what --json prints of a record.
type recordLine struct {
	LSN         segment.LSN  `json:"lsn"`
	End         segment.LSN  `json:"end"`
	Prev        segment.LSN  `json:"prev"`
	XID         uint32       `json:"xid"`
	TopXID      uint32       `json:"top_xid,omitempty"`
	Manager     string       `json:"rmgr"`
	Op          string       `json:"op"`
	Length      uint32       `json:"length"`
	MainLength  int          `json:"main_length"`
	ImageBytes  int          `json:"image_bytes"`
	Origin      uint16       `json:"origin,omitempty"`
	Description string       `json:"description"`
	Blocks      []blockLine  `json:"blocks,omitempty"`
	Transaction *endLine     `json:"transaction,omitempty"`
	Rows        *rowsOfALine `json:"rows,omitempty"`
}

type blockLine struct {
	Relation record.Locator `json:"relation"`
	Fork     string         `json:"fork"`
	Block    uint32         `json:"block"`
	Image    int            `json:"image_bytes,omitempty"`
	Method   string         `json:"image_compression,omitempty"`
}

// endLine is a commit or abort. The transaction is not always the record's.
type endLine struct {
	XID         uint32           `json:"xid"`
	IsCommitted bool             `json:"committed"`
	Time        string           `json:"time"`
	Subxacts    []uint32         `json:"subxacts,omitempty"`
	Dropped     []record.Locator `json:"dropped,omitempty"`
}

type rowsOfALine struct {
	Relation record.Locator `json:"relation"`
	Inserted int            `json:"inserted,omitempty"`
	Updated  int            `json:"updated,omitempty"`
	Deleted  int            `json:"deleted,omitempty"`
}

// timeJSON is RFC 3339 in UTC with microseconds.
func timeJSON(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func (p *recordPrinter) recordJSON(v record.Version, c record.Record, b *record.Body, t *record.Transaction) error {
	p.buf = record.Describe(p.buf[:0], v, c, b)
	line := recordLine{
		LSN: c.LSN, End: c.End, Prev: c.Prev, XID: c.XID, TopXID: b.TopLevelXID, Manager: record.ManagerName(c.RMID),
		Op: record.OpName(v, c.RMID, c.Info), Length: c.Length, MainLength: b.MainLength, ImageBytes: b.ImageBytes(), Origin: b.Origin,
		Description: string(p.buf), Rows: rowsOf(c, b),
	}
	for i := range b.Blocks {
		k := &b.Blocks[i]
		l := blockLine{Relation: k.Relation, Fork: k.Fork.String(), Block: k.Number, Image: k.Image.Size}
		if k.HasImage {
			l.Method = k.Image.Method.String()
		}
		line.Blocks = append(line.Blocks, l)
	}
	if t != nil {
		line.Transaction = &endLine{XID: t.XID, IsCommitted: t.IsCommitted, Time: timeJSON(t.Time)}
		for xid := range t.Subxacts.All() {
			line.Transaction.Subxacts = append(line.Transaction.Subxacts, xid)
		}
		for l := range t.Dropped.All() {
			line.Transaction.Dropped = append(line.Transaction.Dropped, l)
		}
	}
	var err error
	if p.buf, err = json.Marshal(line); err != nil {
		return fmt.Errorf("record at %s: %w", c.LSN, err)
	}
	p.buf = append(p.buf, '\n')
	return p.write()
}

// rowsOf counts the rows that a record changes, nil for none.
func rowsOf(c record.Record, b *record.Body) *rowsOfALine {
	var r record.RowChange
	if !record.IsRowChange(c) || r.Decode(c, b) != nil {
		return nil
	}
	rows := &rowsOfALine{Relation: r.Relation}
	switch r.Kind {
	case record.Insert:
		rows.Inserted = r.Rows
	case record.Delete:
		if r.IsSuper() {
			return nil // no row that was ever there
		}
		rows.Deleted = r.Rows
	default:
		rows.Updated = r.Rows
	}
	return rows
}
