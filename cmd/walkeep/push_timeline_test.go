package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"walkeep/segment"
	"walkeep/segment/record"
)

func segmentID(w realWAL) string { return strconv.FormatUint(w.systemID, 10) }

func lineage(t testing.TB, history string) segment.Lineage {
	t.Helper()
	l, err := segment.NewLineage(2, []byte(history))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// S58: two servers were promoted by mistake, both to timeline 2. Both are archived; one command decides.
func TestS58RivalsByPush(t *testing.T) {
	p, w := newPushTest(t), loadWAL(t, 15)
	fork := w.names[0].Start() + 8192*3 + 400
	child := w.fork(fork)
	one, two := t.TempDir(), t.TempDir()
	h1, h2 := historyText(fork, "no recovery target specified"), historyText(fork, "the other one")
	w.write(t, one, 0, 2)
	paths := child.write(t, one, 0, len(child.names))
	mustContain(t, p.push(exitFailure, paths[0]).stderr, "push 00000002.history first")
	writeFile(t, one, "00000002.history", []byte(h1))
	mustContain(t, p.push(exitFailure, paths[0]).stderr, "push 00000002.history first")
	if s := p.pushJSON(exitOK, one); s.Stored != 3+len(child.names) || s.Unchecked != 0 {
		t.Errorf("%+v", s)
	}
	p.holds(child, lineage(t, h1), 0, len(child.names))

	rival := writeFile(t, two, "00000002.history", []byte(h2))
	mustContain(t, p.push(exitOK, rival).stderr, "2 histories", lineage(t, h1).String(), lineage(t, h2).String())
	p.push(exitOK, child.write(t, two, 0, 1)...)
	p.holds(child, lineage(t, h2), 0, 1)
	// Where no history lies beside it, nobody guesses.
	lone := child.write(t, t.TempDir(), 1, 2)[0]
	mustContain(t, p.push(exitFailure, lone).stderr, lineage(t, h1).String(), lineage(t, h2).String(), "--lineage")
	p.push(exitOK, "--lineage", lineage(t, h2).String(), lone)
	p.holds(child, lineage(t, h2), 0, 2)

	tree := p.run("timeline", "list").stdout
	mustContain(t, tree, "forked from 1 at "+fork.String(), "RIVAL of "+lineage(t, h2).String(), "behind the fork")
	loser := lineage(t, h2).String()
	plan := p.run("timeline", "abandon", loser, "--reason", "mistake")
	mustContain(t, plan.stdout, "nothing was changed: add --apply", "left of the same number: "+lineage(t, h1).String())
	if !strings.Contains(p.run("timeline", "list").stdout, "RIVAL") {
		t.Error("the plan was carried out")
	}
	mustContain(t, p.run("timeline", "abandon", loser, "--reason", "mistake", "--apply").stdout, "abandoned")
	var list struct{ Timelines []lineageListing }
	if err := json.Unmarshal([]byte(p.run("timeline", "list", "--json").stdout), &list); err != nil || len(list.Timelines) != 3 {
		t.Fatalf("%v: %+v", err, list)
	}
	for _, entry := range list.Timelines {
		if len(entry.Rivals) > 0 || entry.Abandoned != (entry.Lineage.String() == loser) {
			t.Errorf("%+v", entry)
		}
	}
	mustContain(t, p.run("list").stdout, loser+" (abandoned)")
	if got := p.run("timeline", "abandon", "00000003-00000001", "--reason", "x"); got.code != exitFailure {
		t.Errorf("an unknown lineage: %+v", got)
	}
}

// The segment in which a timeline begins has its parent's bytes up to there, and each page says whose it is.
func TestPushChecksTheFork(t *testing.T) {
	p, w := newPushTest(t), makeWAL(3)
	fork := w.names[1].Start() + 8192*90 + 400
	child, dir := w.fork(fork), t.TempDir()
	writeFile(t, dir, "00000002.history", []byte(historyText(fork, "test")))
	p.push(exitOK, w.write(t, dir, 0, 1)...)
	p.push(exitOK, dir+"/00000002.history")
	// A parent's file under its child's name.
	name := child.names[0].String()
	mustContain(t, p.push(exitFailure, writeFile(t, dir, name, w.raw[1])).stderr, "is of timeline 1")
	mustContain(t, p.push(exitFailure, writeFile(t, dir, child.names[1].String(), w.raw[2])).stderr, "is of timeline 1")
	// And a child's under its parent's.
	mustContain(t, p.push(exitFailure, writeFile(t, dir, w.names[1].String(), child.raw[0])).stderr, "is of timeline 2")
	// Other bytes than the parent's, in the alignment that no checksum covers.
	p.push(exitOK, w.write(t, dir, 1, 2)...)
	foreign := append([]byte(nil), child.raw[0]...)
	foreign[paddingOf(t, w, w.names[1])] ^= 1
	mustContain(t, p.push(exitFailure, writeFile(t, dir, name, foreign)).stderr, "the parent timeline's segment", "other WAL")
	p.push(exitOK, child.write(t, dir, 0, 1)...)
}

// paddingOf finds a byte of a segment that lies between two records, where nothing covers it.
func paddingOf(t testing.TB, w realWAL, n segment.Name) int {
	t.Helper()
	r := record.NewReader(w.systemID, 1, segment.MinSize, w.names[0].Start())
	for _, raw := range w.raw {
		r.Feed(raw)
		for r.Next() {
			if end := r.Record().End; end > n.Start() && end < n.End() && r.Record().Length%8 != 0 {
				return segment.MinSize.Offset(end) - 1
			}
		}
	}
	t.Fatal("there is no padding")
	return 0
}

func TestPushRefusesHistories(t *testing.T) {
	p, w := newPushTest(t), loadWAL(t, 15)
	dir := t.TempDir()
	p.push(exitOK, w.write(t, dir, 0, 1)...)
	for text, says := range map[string]string{
		"1\t0/30":                 "cut off",
		"":                        "cut off",
		"# nothing\n":             "does not tell",
		"2\t0/3000000\tx\n":       "does not tell",
		"1\tnowhere\tx\n":         "LSN",
		"3\t0/300\n1\t0/200\tx\n": "must increase",
	} {
		mustContain(t, p.push(exitFailure, writeFile(t, dir, "00000002.history", []byte(text))).stderr, says)
	}
	if got := p.run("timeline", "list"); strings.Contains(got.stdout, "timeline 2") {
		t.Error(got.stdout)
	}
}
