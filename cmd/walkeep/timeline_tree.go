package main

import (
	"fmt"
	"strings"
)

// A timelineTree renders lineages for people, each below the one that it branched off from.
type timelineTree struct {
	all    []lineageListing
	colour bool
}

func (t timelineTree) render() string {
	var b strings.Builder
	for _, entry := range t.all {
		if entry.Parent == nil {
			t.branch(&b, entry, "")
		}
	}
	return b.String()
}

func (t timelineTree) branch(b *strings.Builder, entry lineageListing, indent string) {
	fmt.Fprintf(b, "%s%s  timeline %d", indent, entry.Lineage, uint32(entry.Timeline))
	switch {
	case entry.Parent != nil:
		fmt.Fprintf(b, ", forked from %d at %s", uint32(entry.Parent.Timeline), entry.Switch)
	case entry.Switch != 0:
		fmt.Fprintf(b, ", forked at %s from a timeline whose history is not archived", entry.Switch)
	}
	if entry.Archived {
		fmt.Fprintf(b, ", WAL %s to %s", entry.From, entry.To)
	} else {
		b.WriteString(", no WAL archived")
	}
	if entry.Abandoned {
		b.WriteString(", abandoned")
	}
	b.WriteString("\n")
	if entry.BeyondFork > 0 {
		fmt.Fprintf(b, "%s    timeline %d is archived up to %s behind the fork: that is no part of this one\n",
			indent, uint32(entry.Parent.Timeline), byteSize(float64(entry.BeyondFork)))
	}
	if len(entry.Rivals) > 0 {
		text := fmt.Sprintf("RIVAL of %s: two servers were promoted to timeline %d; give up the wrong one with walkeep timeline abandon",
			joinLineages(entry.Rivals), uint32(entry.Timeline))
		fmt.Fprintf(b, "%s    %s\n", indent, t.red(text))
	}
	for _, child := range t.all {
		if child.Parent != nil && *child.Parent == entry.Lineage {
			t.branch(b, child, indent+"  ")
		}
	}
}

func (t timelineTree) red(text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[1;31m" + text + "\x1b[0m"
}
