package catalog

import (
	"fmt"
	"strings"

	"walkeep/segment"
)

// Key is the name of one object in a repository. docs/FORMAT.md lists them all.
type Key = string

const clusterPrefix = "cluster/"

func identityKey(systemID uint64) Key { return fmt.Sprintf("%s%d.json", clusterPrefix, systemID) }

// ProbeKey is a key for trying whether a store can be written to; token is any random name. Nothing else
// is kept below its prefix.
func ProbeKey(token string) Key { return "probe/" + token }

// keys spells the keys of one cluster.
type keys struct {
	systemID uint64
}

func (k keys) under(kind string) string { return fmt.Sprintf("%d/%s/", k.systemID, kind) }

func (k keys) history(l segment.Lineage) Key { return k.under("timeline") + l.String() + ".history" }

func (k keys) segments(l segment.Lineage) string { return k.under("wal") + l.String() + "/" }

func (k keys) segment(l segment.Lineage, n segment.Name) Key {
	return k.segments(l) + n.Log() + "/" + n.String()
}

func (k keys) tail(l segment.Lineage, n segment.Name) string {
	return k.under("tail") + l.String() + "/" + n.String() + "/"
}

// link is the key of the link that begins offset bytes into the segment.
func (k keys) link(l segment.Lineage, n segment.Name, offset int) Key {
	return fmt.Sprintf("%s%08x", k.tail(l, n), offset)
}

const rollupMark = "upto-"

// rollup is the key of the roll-up that ends offset bytes into the segment.
func (k keys) rollup(l segment.Lineage, n segment.Name, offset int) Key {
	return fmt.Sprintf("%s%s%08x", k.tail(l, n), rollupMark, offset)
}

func (k keys) gaps(l segment.Lineage) string { return k.under("gap") + l.String() + "/" }

func (k keys) gap(l segment.Lineage, from, to segment.LSN) Key {
	return fmt.Sprintf("%s%016x-%016x.json", k.gaps(l), uint64(from), uint64(to))
}

const beginMark = "begin-"

// begins is the prefix of the notes that say where the archived WAL of a lineage begins.
func (k keys) begins(l segment.Lineage) string { return k.under("note") + l.String() + "/" + beginMark }

func (k keys) begin(l segment.Lineage, from segment.LSN) Key {
	return fmt.Sprintf("%s%016x.json", k.begins(l), uint64(from))
}

func (k keys) abandoned(l segment.Lineage) Key {
	return k.under("note") + l.String() + "/abandoned.json"
}

// acknowledgements is the prefix of the notes that an operator knows of gaps of a lineage.
func (k keys) acknowledgements(l segment.Lineage) string {
	return k.under("note") + l.String() + "/gap-"
}

// acknowledged is the key of the note that an operator knows of a gap.
func (k keys) acknowledged(g Gap) Key {
	return fmt.Sprintf("%s%016x-%016x.json", k.acknowledgements(g.Lineage), uint64(g.From), uint64(g.To))
}

// parseLast parses what follows the prefix of a key as a number of exactly digits hexadecimal digits with
// the given suffix.
func parseLast(key, prefix, suffix string, digits int) (uint64, error) {
	s, ok := strings.CutPrefix(key, prefix)
	s, ok2 := strings.CutSuffix(s, suffix)
	var v uint64
	if !ok || !ok2 || len(s) != digits {
		return 0, fmt.Errorf("object %q has no place here", key)
	}
	for _, c := range []byte(s) {
		d := strings.IndexByte("0123456789abcdef", c)
		if d < 0 {
			return 0, fmt.Errorf("object %q has no place here", key)
		}
		v = v<<4 | uint64(d)
	}
	return v, nil
}
