package replication

import (
	"fmt"

	"walkeep/segment"
)

// A Branch is one lineage with the line of its ancestors, oldest first: where each of them ended.
type Branch struct {
	Lineage segment.Lineage
	Forks   []segment.Fork
}

// end returns where timeline t ends on this branch; ok is false if t is not an ancestor. The branch's own timeline has no
// end.
func (b Branch) end(t segment.Timeline) (lsn segment.LSN, ok bool) {
	for _, f := range b.Forks {
		if f.Timeline == t {
			return f.Switch, true
		}
	}
	return 0, false
}

// Archived is what the repository holds of one lineage.
type Archived struct {
	Branch
	Begin     segment.LSN
	Frontier  segment.LSN // Begin if nothing is left of it
	Abandoned bool        // an operator has said that this lineage is not to be followed
}

// Position is what a server says of itself.
type Position struct {
	// Ancestry holds the server's branch of each of its timelines, oldest first and its current one last.
	Ancestry []Branch
	Flush    segment.LSN
	Standby  bool
}

func (p Position) current() Branch { return p.Ancestry[len(p.Ancestry)-1] }

// An Action is what to do about a server, given what is archived.
type Action int

// The actions.
const (
	// ActionBegin: nothing of the server's ancestry is archived. Begin where its slot does.
	ActionBegin Action = iota + 1
	// ActionStream: stream Branch from Start, a segment boundary.
	ActionStream
	// ActionWait: the server is behind what is archived of its own timeline; it may catch up.
	ActionWait
	// ActionRefuse: archiving from this server could mix two histories. A person has to decide.
	ActionRefuse
)

// A Decision is the result of Reconcile.
type Decision struct {
	Action Action
	Branch Branch
	Start  segment.LSN
	// Parent is the timeline that holds the segment before Start, if Branch begins in the segment at Start.
	Parent segment.Lineage
	// Verify, if not zero, says that the bytes from Start up to it must equal those of Parent.
	Verify segment.LSN
	// Rivals are lineages of the same timeline number with another history: archived side by side, until one is abandoned.
	Rivals []segment.Lineage
	Reason string // for ActionWait and ActionRefuse
}

// Reconcile decides what to stream from a server. It is pure: the matrix of positions and histories, and nothing else. The
// repository's word counts more than the server's: streaming begins where the archive ends, on the newest of the server's
// timelines that the archive knows.
func Reconcile(server Position, archived []Archived, size segment.Size) Decision {
	if d, refused := refuseAbandoned(server, archived); refused {
		return d
	}
	if d, refused := refuseStale(server, archived); refused {
		return d
	}
	d := follow(server, archived, size)
	d.Rivals = rivals(server.current(), archived)
	return d
}

// refuseAbandoned refuses a server that goes on writing what an operator has given up.
func refuseAbandoned(server Position, archived []Archived) (Decision, bool) {
	current := server.current()
	if a, ok := find(archived, current.Lineage); !ok || !a.Abandoned {
		return Decision{}, false
	}
	return Decision{Action: ActionRefuse, Branch: current, Reason: fmt.Sprintf(
		"the server is on timeline %d (%s), which was abandoned with walkeep timeline abandon: rebuild it from the right primary with pg_rewind "+
			"or a base backup", uint32(current.Lineage.Timeline), current.Lineage)}, true
}

// refuseStale finds an archived lineage that has left the server's timeline behind: the server was not told of a promotion.
func refuseStale(server Position, archived []Archived) (Decision, bool) {
	current := server.current()
	for _, a := range archived {
		if a.Abandoned || a.Lineage.Timeline <= current.Lineage.Timeline {
			continue
		}
		reason := fmt.Sprintf("the archive already follows timeline %d, which forked from the server's timeline %d at ",
			uint32(a.Lineage.Timeline), uint32(current.Lineage.Timeline))
		p, ok := a.end(current.Lineage.Timeline)
		switch {
		case ok && server.Standby:
			return Decision{Action: ActionWait, Branch: current, Reason: reason + p.String() + ": waiting until the standby has followed"}, true
		case ok:
			return Decision{Action: ActionRefuse, Branch: current, Reason: reason + p.String() +
				": this is an old primary that came back; rebuild it with pg_rewind or a base backup"}, true
		}
		return Decision{Action: ActionRefuse, Branch: current, Reason: fmt.Sprintf(
			"the archive follows timeline %d, which is no descendant of the server's timeline %d: two servers were promoted; "+
				"decide which one is right, and give up the other with walkeep timeline abandon",
			uint32(a.Lineage.Timeline), uint32(current.Lineage.Timeline))}, true
	}
	return Decision{}, false
}

// follow finds the newest of the server's timelines that is archived, and goes on behind it; before that, with an older one that
// is not archived up to where it ended: a timeline may have been begun by push, beside us.
func follow(server Position, archived []Archived, size segment.Size) Decision {
	newest := Decision{Action: ActionBegin, Branch: server.current()}
	for i := len(server.Ancestry) - 1; i >= 0; i-- {
		known, ok := find(archived, server.Ancestry[i].Lineage)
		if !ok {
			continue
		}
		switch {
		case newest.Action == ActionBegin && i == len(server.Ancestry)-1:
			newest = continueCurrent(server, known, size)
		case newest.Action == ActionBegin:
			newest = continueAncestor(server, i, known, size)
		case newest.Action == ActionStream && unfinished(server, i, known):
			newest = continueAncestor(server, i, known, size)
		}
	}
	return newest
}

// unfinished reports whether an ancestor is archived, but not up to where it ended. One of which nothing is left is not.
func unfinished(server Position, i int, known Archived) bool {
	fork, _ := server.Ancestry[i+1].end(known.Lineage.Timeline)
	return known.Begin < known.Frontier && known.Frontier < fork
}

func find(archived []Archived, l segment.Lineage) (Archived, bool) {
	for _, a := range archived {
		if a.Lineage == l {
			return a, true
		}
	}
	return Archived{}, false
}

func continueCurrent(server Position, known Archived, size segment.Size) Decision {
	current := server.current()
	if server.Flush >= known.Frontier {
		return withParent(Decision{Action: ActionStream, Branch: current, Start: size.Start(known.Frontier)}, server, len(server.Ancestry)-1)
	}
	if server.Standby {
		return Decision{Action: ActionWait, Branch: current, Reason: fmt.Sprintf(
			"the standby's WAL ends at %s, the archive's at %s: waiting until it has caught up", server.Flush, known.Frontier)}
	}
	return Decision{Action: ActionRefuse, Branch: current, Reason: fmt.Sprintf(
		"the primary's WAL ends at %s, before what is archived of the same timeline (%s): it has lost WAL that it had flushed "+
			"(a disk that lies, or a restored snapshot), and new WAL would contradict the archive; promote it to a new timeline, or archive it "+
			"with --branch", server.Flush, known.Frontier)}
}

// continueAncestor: the newest archived timeline is an ancestor of the server's. If it is not archived up to where the next
// one forked, the rest of it comes first, else the next one from the beginning of the segment of the fork.
func continueAncestor(server Position, i int, known Archived, size segment.Size) Decision {
	next := server.Ancestry[i+1]
	fork, _ := next.end(known.Lineage.Timeline)
	if known.Frontier < fork {
		return withParent(Decision{Action: ActionStream, Branch: server.Ancestry[i], Start: size.Start(known.Frontier)}, server, i)
	}
	return withParent(Decision{Action: ActionStream, Branch: next, Start: size.Start(fork)}, server, i+1)
}

// withParent adds the parent, and what to verify, when the stream begins in the segment where its timeline forked.
func withParent(d Decision, server Position, i int) Decision {
	if i == 0 {
		return d
	}
	parent := server.Ancestry[i-1].Lineage
	fork, ok := d.Branch.end(parent.Timeline)
	if !ok || fork < d.Start {
		return d
	}
	d.Parent = parent
	if fork > d.Start {
		d.Verify = fork
	}
	return d
}

// rivals are the archived lineages with the server's timeline number and another history.
func rivals(current Branch, archived []Archived) []segment.Lineage {
	var all []segment.Lineage
	for _, a := range archived {
		if !a.Abandoned && a.Lineage.Timeline == current.Lineage.Timeline && a.Lineage != current.Lineage {
			all = append(all, a.Lineage)
		}
	}
	return all
}
