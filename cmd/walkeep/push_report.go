package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"walkeep/catalog"
	"walkeep/segment"
)

// Outcomes of a file.
const (
	pushStored  = "stored"
	pushPresent = "present" // it was there already, with equal bytes
	pushSkipped = "skipped" // not needed
	pushRefused = "refused"
)

// A pushResult is what became of one file.
type pushResult struct {
	File      string `json:"file"`
	Name      string `json:"name"`
	Lineage   string `json:"lineage,omitempty"`
	Outcome   string `json:"outcome"`
	Unchecked uint64 `json:"unchecked_bytes"`
	Fork      bool   `json:"fork,omitempty"` // the archive holds other bytes
	Detail    string `json:"detail,omitempty"`
}

// A missingRange is WAL before a pushed segment that is not archived.
type missingRange struct {
	Lineage segment.Lineage `json:"lineage"`
	From    segment.LSN     `json:"from"`
	To      segment.LSN     `json:"to"`
	Gap     bool            `json:"gap"` // recorded as lost
}

// A pushReport collects the results and, for many files, shows progress.
type pushReport struct {
	env   *environment
	json  bool
	total int
	begun time.Time

	mu       sync.Mutex
	shown    time.Time
	bytes    int64
	segments map[segment.Lineage][]segment.Name // that are archived now, unordered
	output   struct {
		SystemID  string            `json:"system_id"`
		Stored    int               `json:"stored"`
		Present   int               `json:"present"`
		Skipped   int               `json:"skipped"`
		Refused   int               `json:"refused"`
		Unchecked uint64            `json:"unchecked_bytes"`
		Files     []pushResult      `json:"files"`
		Healed    []catalog.OpenGap `json:"healed"`
		OpenGaps  []catalog.OpenGap `json:"open_gaps"`
		Missing   []missingRange    `json:"missing"`
		Error     string            `json:"error,omitempty"`
	}
}

func newPushReport(env *environment, o pushOptions, total int) *pushReport {
	now := time.Now()
	r := &pushReport{env: env, json: o.json, total: total, begun: now, shown: now, segments: map[segment.Lineage][]segment.Name{}}
	r.output.Files, r.output.Healed = []pushResult{}, []catalog.OpenGap{}
	r.output.OpenGaps, r.output.Missing = []catalog.OpenGap{}, []missingRange{}
	return r
}

// many: a person pushes a directory, rather than PostgreSQL one file.
func (r *pushReport) many() bool { return r.total > 1 }

func (r *pushReport) stored(result pushResult, a catalog.Accepted) {
	r.mu.Lock()
	r.segments[a.Lineage] = append(r.segments[a.Lineage], a.Name)
	r.bytes += int64(a.Name.Size)
	r.mu.Unlock()
	r.add(result)
}

func (r *pushReport) add(result pushResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &r.output
	out.Files = append(out.Files, result)
	out.Unchecked += result.Unchecked
	switch result.Outcome {
	case pushStored:
		out.Stored++
	case pushPresent:
		out.Present++
	case pushSkipped:
		out.Skipped++
	case pushRefused:
		out.Refused++
	}
	if !r.json {
		r.say(result)
	}
	r.progress()
}

// say prints at once what a person must know of one file.
func (r *pushReport) say(result pushResult) {
	switch {
	case result.Detail == "":
	case result.Outcome == pushSkipped && r.many(): // counted at the end
	case result.Outcome == pushSkipped:
		fmt.Fprintf(r.env.stdout, "%s: %s\n", result.Name, result.Detail)
	default:
		fmt.Fprintf(r.env.stderr, "%swalkeep: %s\n", r.clear(), oneLine(result.Detail))
	}
}

// Intervals of progress.
const (
	progressRedraw = 200 * time.Millisecond
	progressLine   = 30 * time.Second
)

func (r *pushReport) live() bool { return r.many() && !r.env.quiet && r.env.isTerminal(r.env.stderr) }

func (r *pushReport) clear() string {
	if r.live() {
		return "\r\x1b[K"
	}
	return ""
}

func (r *pushReport) progress() {
	interval, format := progressLine, "%d of %d files, %s, %s/s\n"
	if r.live() {
		interval, format = progressRedraw, "\r%d of %d files, %s, %s/s\x1b[K"
	}
	now := time.Now()
	if !r.many() || r.env.quiet || now.Sub(r.shown) < interval {
		return
	}
	r.shown = now
	fmt.Fprintf(r.env.stderr, format, len(r.output.Files), r.total, byteSize(float64(r.bytes)), byteSize(float64(r.bytes)/now.Sub(r.begun).Seconds()))
}

// finish prints the summary and turns the results into the command's own; failed is why not all files were looked at.
func (r *pushReport) finish(failed error) error {
	out := &r.output
	if r.json {
		if failed != nil {
			out.Error = failed.Error()
		}
		return errors.Join(r.env.printJSON(out), r.verdict(failed))
	}
	fmt.Fprint(r.env.stderr, r.clear())
	for _, g := range out.Healed {
		fmt.Fprintf(r.env.stdout, "gap healed: WAL [%s, %s) of %s is archived now\n", g.From, g.To, g.Lineage)
	}
	if r.many() || r.env.isTerminal(r.env.stdout) {
		fmt.Fprintf(r.env.stdout, "%d stored, %d were there already, %d not needed, %d refused; %s of %d files in %s\n", out.Stored, out.Present, out.Skipped,
			out.Refused, byteSize(float64(r.bytes)), r.total, time.Since(r.begun).Round(10*time.Millisecond))
		for _, g := range out.OpenGaps {
			fmt.Fprintf(r.env.stdout, "gap still open: WAL [%s, %s) of %s is %s\n", g.From, g.To, g.Lineage, g.Kind)
		}
	}
	r.sayMissing()
	return r.verdict(failed)
}

// sayMissing tells what keeps the archive from being contiguous.
func (r *pushReport) sayMissing() {
	for _, m := range r.output.Missing {
		if m.Gap {
			fmt.Fprintf(r.env.stdout, "gap recorded: WAL [%s, %s) of %s is lost\n", m.From, m.To, m.Lineage)
			continue
		}
		fmt.Fprintf(r.env.stderr, "walkeep: the archive of %s is contiguous only up to %s: push the WAL up to %s, or let walkeep receive store it\n",
			m.Lineage, m.From, m.To)
	}
}

func (r *pushReport) verdict(failed error) error {
	if failed == nil && r.output.Refused > 0 {
		return errReported
	}
	return failed
}
