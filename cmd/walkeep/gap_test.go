package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"walkeep/catalog"
)

func TestGapAck(t *testing.T) {
	p, w := newPushTest(t), loadWAL(t, 15)
	c := p.catalog(w)
	p.push(exitOK, w.write(t, t.TempDir(), 0, 1)...)
	for _, g := range []catalog.Gap{
		{Lineage: first, From: w.names[1].Start(), To: w.names[1].End(), Kind: catalog.GapLost, Reason: "slot lost\x1b[2J"},
		{Lineage: first, From: w.names[2].Start(), To: w.names[2].End(), Kind: catalog.GapDamaged, Reason: "bad checksum"},
	} {
		g.Detected = time.Now()
		if err := c.RecordGap(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	acknowledged := func() (known []bool) {
		t.Helper()
		var list struct{ Gaps []gapListing }
		if err := json.Unmarshal([]byte(p.run("gap", "list", "--json").stdout), &list); err != nil {
			t.Fatal(err)
		}
		for _, g := range list.Gaps {
			known = append(known, g.Acknowledged)
		}
		return known
	}
	expect := func(want ...bool) {
		t.Helper()
		got := acknowledged()
		if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("acknowledged: %v, want %v", got, want)
		}
	}
	if list := p.run("list").stdout; strings.Contains(list, "\x1b") {
		t.Errorf("%q", list)
	}
	between := w.names[1].Start().String() + ".." + w.names[1].End().String()
	mustContain(t, p.run("gap", "ack", first.String(), between, "--reason", "x").stdout, between, "nothing was changed: add --apply")
	expect(false, false)
	mustContain(t, p.run("gap", "ack", first.String(), between, "--reason", "x", "--apply").stdout, "acknowledged", "stays lost")
	expect(true, false)
	mustContain(t, p.run("list").stdout, "gap, acknowledged", "GAP: WAL")
	mustContain(t, p.run("gap", "ack", "all", "--reason", "x", "--apply").stdout, "(damaged)")
	expect(true, true)
	mustContain(t, p.run("gap", "ack", "all", "--reason", "x", "--apply").stdout, "acknowledged before")
	for _, args := range [][]string{
		{"all"},
		{"some", "--reason", "x"},
		{first.String(), "0/2..0/1", "--reason", "x"},
		{first.String(), "0/100..0/200", "--reason", "x"},
		{"all", "--reason", ""},
	} {
		if got := p.run(append([]string{"gap", "ack"}, args...)...); got.code == exitOK {
			t.Errorf("gap ack %q: exit 0", args)
		}
	}
	if text := p.run("gap", "list").stdout + p.run("list").stdout; strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
}
