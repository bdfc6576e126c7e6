package restore

import "fmt"

// Absence is the proof that the repository does not hold a file: the store said so, and said that nothing later is there
// either. Only this package makes one.
type Absence struct {
	name   string
	reason string
}

// Proven reports whether this is a proof; the zero Absence is none.
func (a Absence) Proven() bool { return a.name != "" }

// String is for people: what is absent, and how it is known.
func (a Absence) String() string { return a.name + " is not in the archive: " + a.reason }

// A Hole is a missing file that something later depends on. Recovery must stop there, not end.
type Hole struct {
	Name   string // the file, or the one of which only the beginning is archived
	Reason string // what later WAL there is
}

func (e *Hole) Error() string {
	return fmt.Sprintf("WAL file %s is missing from the archive although later WAL is there (%s): recovery can't go beyond it; "+
		"restore to a target before it, or from a base backup taken behind it", e.Name, e.Reason)
}
