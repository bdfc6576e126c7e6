package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"walkeep/dashboard"
)

// Columns of the screen.
const (
	screenWidth  = 80
	titleColumn  = 13
	nameColumn   = 19
	valueColumns = screenWidth - titleColumn - nameColumn
)

// A sections value says which details a screen shows.
type sections int

const (
	allSections     sections = iota
	withoutCounters          // so that it fits into 24 lines
)

// A screen renders answers as text of 80 columns.
type screen struct {
	shown  sections
	colour bool
}

func (v statusView) screen(shown sections) screen {
	return screen{shown: shown, colour: v.env.isTerminal(v.env.stdout) && v.env.getenv("NO_COLOR") == ""}
}

// render returns the whole screen, each line ended.
func (s screen) render(a answer) string {
	var b strings.Builder
	summary := dashboard.Summarize(a.status)
	address := plain(a.status.Server.Address())
	headline := plain(summary.Headline)
	gap := screenWidth - utf8.RuneCountInString(headline) - utf8.RuneCountInString(address)
	b.WriteString(s.paint(summary.Level, headline))
	if address != "" && gap > 1 {
		b.WriteString(strings.Repeat(" ", gap) + address)
	}
	b.WriteString("\n")
	writeWrapped(&b, summary.State)
	if a.Problem != "" {
		writeWrapped(&b, "UNHEALTHY: "+a.Problem)
	}
	writeWrapped(&b, summary.Advice)
	for _, g := range a.status.Gaps {
		text := "GAP (" + g.Kind + "): " + g.From + " to " + g.To + " of " + g.Lineage
		if g.Reason != "" {
			text += ": " + g.Reason
		}
		if g.Acknowledged {
			text += " (acknowledged)"
		}
		writeWrapped(&b, text)
	}
	b.WriteString("\n")
	for _, section := range dashboard.Details(a.status) {
		if s.shown == withoutCounters && section.Title == dashboard.CountersTitle {
			continue
		}
		writeSection(&b, section)
	}
	return b.String()
}

func writeSection(b *strings.Builder, section dashboard.Section) {
	title := section.Title
	for _, row := range section.Rows {
		name := row.Name
		for _, line := range wrap(plain(row.Value), valueColumns) {
			b.WriteString(strings.TrimRight(pad(title, titleColumn)+pad(name, nameColumn)+line, " ") + "\n")
			title, name = "", ""
		}
	}
}

// paint makes a headline bold and gives it the colour of its level, on terminals.
func (s screen) paint(level dashboard.Level, text string) string {
	if !s.colour {
		return text
	}
	colours := map[dashboard.Level]string{dashboard.Good: "32", dashboard.Warn: "33", dashboard.Bad: "31"}
	return "\x1b[1;" + colours[level] + "m" + text + "\x1b[0m"
}

func writeWrapped(b *strings.Builder, text string) {
	if text == "" {
		return
	}
	for _, line := range wrap(plain(text), screenWidth) {
		b.WriteString(line + "\n")
	}
}

// wrap breaks text into lines of at most width characters, at spaces where there are any.
func wrap(text string, width int) []string {
	var lines []string
	line := []rune(text)
	for len(line) > width {
		end := width
		for i := width; i > 0; i-- {
			if line[i] == ' ' {
				end = i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(line[:end]), " "))
		line = []rune(strings.TrimLeft(string(line[end:]), " "))
	}
	return append(lines, string(line))
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// plain drops what could move the cursor or change the colours: the text may come from anywhere.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return -1
		}
	}, s)
}
