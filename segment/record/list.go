package record

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// Sizes of what records hold lists of.
const (
	xidSize     = 4
	locatorSize = 12 // sizeof(RelFileLocator)
	messageSize = 16 // sizeof(SharedInvalidationMessage)
)

// XIDs is a list of transaction ids as a record holds it.
type XIDs []byte

// Len is how many there are.
func (x XIDs) Len() int { return len(x) / xidSize }

// All yields them.
func (x XIDs) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for p := []byte(x); len(p) >= xidSize; p = p[xidSize:] {
			if !yield(binary.LittleEndian.Uint32(p)) {
				return
			}
		}
	}
}

// Locators is a list of relations' files as a record holds it.
type Locators []byte

// Len is how many there are.
func (l Locators) Len() int { return len(l) / locatorSize }

// All yields them.
func (l Locators) All() iter.Seq[Locator] {
	return func(yield func(Locator) bool) {
		for in := (cursor{p: l}); len(in.p) >= locatorSize; {
			if !yield(in.locator()) {
				return
			}
		}
	}
}

// DroppedStats is the list of statistics that go with a dropped object (access/xact.h: xl_xact_stats_item).
type DroppedStats struct {
	items []byte
	size  int
}

// A StatsItem is the object of one.
type StatsItem struct {
	Kind     int32
	Database uint32
	Object   uint64 // 32 bits wide before 18
}

// Len is how many there are.
func (s DroppedStats) Len() int {
	if s.size == 0 {
		return 0
	}
	return len(s.items) / s.size
}

// All yields them.
func (s DroppedStats) All() iter.Seq[StatsItem] {
	return func(yield func(StatsItem) bool) {
		in := cursor{p: s.items}
		for range s.Len() {
			i := StatsItem{Kind: in.int32(), Database: in.uint32(), Object: uint64(in.uint32())}
			if s.size > 12 {
				i.Object |= uint64(in.uint32()) << 32
			}
			if !yield(i) {
				return
			}
		}
	}
}

// droppedStats takes n items: from 18 on an object's id has 64 bits.
func (c *cursor) droppedStats(v Version, n int32) DroppedStats {
	size := 12
	if v >= 18 {
		size = 16
	}
	return DroppedStats{items: c.array(n, size), size: size}
}

// text takes a C string with the zero behind it.
func (c *cursor) text() []byte {
	n := bytes.IndexByte(c.p, 0)
	if n < 0 {
		c.p, c.short = nil, true
		return nil
	}
	b := c.bytes(n)
	c.bytes(1)
	return b
}

// Messages is a list of invalidation messages as a record holds it.
type Messages []byte

// Len is how many there are.
func (m Messages) Len() int { return len(m) / messageSize }

// All yields them.
func (m Messages) All() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for p := []byte(m); len(p) >= messageSize; p = p[messageSize:] {
			if !yield(parseMessage(p)) {
				return
			}
		}
	}
}

// MessageKind tells the invalidation messages apart (storage/sinval.h).
type MessageKind int8

// The kinds of messages. All others are the number of a catalog cache, from 0 on.
const (
	MessageCatalog  MessageKind = -1 // SHAREDINVALCATALOG_ID
	MessageRelcache MessageKind = -2 // SHAREDINVALRELCACHE_ID
	MessageStorage  MessageKind = -3 // SHAREDINVALSMGR_ID
	MessageRelmap   MessageKind = -4 // SHAREDINVALRELMAP_ID
	MessageSnapshot MessageKind = -5 // SHAREDINVALSNAPSHOT_ID
	MessageRelsync  MessageKind = -6 // SHAREDINVALRELSYNC_ID, from 18 on
)

// A Message says what other backends must forget (storage/sinval.h: SharedInvalidationMessage).
type Message struct {
	Kind     MessageKind
	Database uint32 // 0 for shared relations
	// Relation is the OID of the relation or catalog, 0 for all; of MessageStorage the number of the file.
	Relation uint32
	// Hash is of the catalog cache's key, for kinds from 0 on.
	Hash uint32
}

func parseMessage(p []byte) Message {
	m := Message{Kind: MessageKind(p[0])}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(p[at:]) }
	switch {
	case m.Kind >= 0:
		m.Database, m.Hash = word(4), word(8)
	case m.Kind == MessageStorage: // i8 id, i8 backend_hi, u16 backend_lo, RelFileLocator
		m.Database, m.Relation = word(8), word(12)
	case m.Kind == MessageRelmap:
		m.Database = word(4)
	default:
		m.Database, m.Relation = word(4), word(8)
	}
	return m
}
