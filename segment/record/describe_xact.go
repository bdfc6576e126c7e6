package record

import "fmt"

// describeTransaction is xact_desc (access/rmgrdesc/xactdesc.c).
func describeTransaction(dst []byte, v Version, c Record, b *Body) ([]byte, error) {
	switch {
	case IsEnd(c):
		var t Transaction
		err := t.Decode(v, c, b)
		return describeEnd(dst, &t, b), err
	case IsPrepare(c):
		var p Prepare
		err := p.Decode(v, c, b)
		return describePrepare(dst, &p), err
	case IsAssignment(c):
		var a Assignment
		err := a.Decode(c, b)
		return appendXIDs(fmt.Appendf(dst, "xtop %d: subxacts:", a.Top), a.Subxacts), err
	case IsInvalidation(c):
		m, err := DecodeInvalidation(c, b)
		return appendMessages(dst, m), err
	}
	return dst, nil
}

func describeEnd(dst []byte, t *Transaction, b *Body) []byte {
	if t.IsPrepared {
		dst = fmt.Appendf(dst, "%d: ", t.XID)
	}
	dst = t.Time.AppendFormat(dst, timeLayout)
	if t.GID != nil {
		dst = fmt.Appendf(dst, "; gid %s", t.GID)
	}
	dst = appendFiles(dst, "rels", t.Dropped)
	if t.Subxacts.Len() > 0 {
		dst = appendXIDs(append(dst, "; subxacts:"...), t.Subxacts)
	}
	dst = appendStats(dst, "dropped stats", t.DroppedStats)
	if t.Messages.Len() > 0 {
		if t.Info&relcacheInitInval != 0 {
			dst = fmt.Appendf(dst, "; relcache init file inval dbid %d tsid %d", t.Database, t.Tablespace)
		}
		dst = appendMessages(append(dst, "; "...), t.Messages)
	}
	if t.Info&applyFeedback != 0 {
		dst = append(dst, "; apply_feedback"...)
	}
	if t.Info&forceSyncCommit != 0 {
		dst = append(dst, "; sync"...)
	}
	if t.Info&hasOrigin != 0 {
		dst = fmt.Appendf(dst, "; origin: node %d, lsn %s, at ", b.Origin, t.OriginLSN)
		dst = t.OriginTime.AppendFormat(dst, timeLayout)
	}
	return dst
}

func describePrepare(dst []byte, p *Prepare) []byte {
	dst = fmt.Appendf(dst, "gid %s: ", p.GID)
	dst = p.Time.AppendFormat(dst, timeLayout)
	dst = appendFiles(dst, "rels(commit)", p.DroppedAtEnd)
	dst = appendFiles(dst, "rels(abort)", p.DroppedAtAbort)
	dst = appendStats(dst, "commit dropped stats", p.Stats)
	dst = appendStats(dst, "abort dropped stats", p.AbortStats)
	if p.Subxacts.Len() > 0 {
		dst = appendXIDs(append(dst, "; subxacts:"...), p.Subxacts)
	}
	if p.Messages.Len() > 0 {
		dst = appendMessages(append(dst, "; "...), p.Messages)
	}
	return dst
}

func appendXIDs(dst []byte, x XIDs) []byte {
	for xid := range x.All() {
		dst = fmt.Appendf(dst, " %d", xid)
	}
	return dst
}

func appendFiles(dst []byte, title string, files Locators) []byte {
	if files.Len() == 0 {
		return dst
	}
	dst = fmt.Appendf(dst, "; %s:", title)
	for f := range files.All() {
		dst = fmt.Appendf(dst, " %s", f)
	}
	return dst
}

func appendStats(dst []byte, title string, stats DroppedStats) []byte {
	if stats.Len() == 0 {
		return dst
	}
	dst = fmt.Appendf(dst, "; %s:", title)
	for s := range stats.All() {
		dst = fmt.Appendf(dst, " %d/%d/%d", s.Kind, s.Database, s.Object)
	}
	return dst
}

func appendMessages(dst []byte, messages Messages) []byte {
	dst = append(dst, "inval msgs:"...)
	for m := range messages.All() {
		switch m.Kind {
		case MessageCatalog:
			dst = fmt.Appendf(dst, " catalog %d", m.Relation)
		case MessageRelcache:
			dst = fmt.Appendf(dst, " relcache %d", m.Relation)
		case MessageStorage:
			dst = append(dst, " smgr"...)
		case MessageRelmap:
			dst = fmt.Appendf(dst, " relmap db %d", m.Database)
		case MessageSnapshot:
			dst = fmt.Appendf(dst, " snapshot %d", m.Relation)
		case MessageRelsync:
			dst = fmt.Appendf(dst, " relsync %d", m.Relation)
		default:
			if m.Kind < 0 {
				dst = fmt.Appendf(dst, " unknown id %d", m.Kind)
			} else {
				dst = fmt.Appendf(dst, " catcache %d", m.Kind)
			}
		}
	}
	return dst
}
