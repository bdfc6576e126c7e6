package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
)

// demoScreen prints what a demo does, a line for each step with the time since the beginning.
type demoScreen struct {
	out      io.Writer
	begin    time.Time
	terminal bool
	colours  bool
}

func newDemoScreen(env *environment) *demoScreen {
	terminal := env.isTerminal(env.stdout)
	return &demoScreen{out: env.stdout, begin: time.Now(), terminal: terminal, colours: terminal && env.getenv("NO_COLOR") == ""}
}

const (
	demoBold  = "1"
	demoRed   = "1;31"
	demoGreen = "1;32"
)

func (s *demoScreen) colour(code, text string) string {
	if !s.colours {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *demoScreen) title(format string, args ...any) {
	s.print("%s\n%s\n\n", s.colour(demoBold, "walkeep demo: lose a database server, and get it back"), fmt.Sprintf(format, args...))
}

func (s *demoScreen) step(what, format string, args ...any) { s.line("", what, format, args...) }

func (s *demoScreen) alarm(what, format string, args ...any) { s.line(demoRed, what, format, args...) }

func (s *demoScreen) proof(what, format string, args ...any) {
	s.line(demoGreen, what, format, args...)
}

// live shows a line on a terminal that the next one replaces.
func (s *demoScreen) live(what, format string, args ...any) {
	if s.terminal {
		s.line("", what, format, args...)
		s.print("\x1b[A")
	}
}

func (s *demoScreen) line(code, what, format string, args ...any) {
	text := fmt.Sprintf("%-11s  %s", what, fmt.Sprintf(format, args...))
	if code != "" {
		text = s.colour(code, text)
	}
	if s.terminal {
		text += "\x1b[K"
	}
	s.print("%5.1f s  %s\n", time.Since(s.begin).Seconds(), text)
}

func (s *demoScreen) gap(text string) { s.print("\n%s\n\n", text) }

func (s *demoScreen) kept(dir, repo string) {
	s.print("\nkept: %s (walkeep list --repo %s shows what is in the repository)\n", dir, repo)
}

// next says how to go on with a real server.
func (s *demoScreen) next() {
	s.print(`
Now your own server:

  walkeep check   --repo s3://BUCKET/PREFIX --primary 'host=DB user=walkeep'
  walkeep receive --repo s3://BUCKET/PREFIX --primary 'host=DB user=walkeep'
  restore_command = 'walkeep fetch --repo s3://BUCKET/PREFIX %%f %%p || exit $(( $? == 1 ? 1 : 200 ))'

And to leave again, so that the server keeps no WAL for walkeep:

  walkeep slot drop --primary 'host=DB user=walkeep' --apply
`)
}

// print ignores errors: nobody watches then, and the exit code tells.
func (s *demoScreen) print(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

func thousands(n int) string { return humanize.Comma(int64(n)) }
