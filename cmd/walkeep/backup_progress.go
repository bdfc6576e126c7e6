package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/schollz/progressbar/v3"

	"walkeep/backup"
)

const (
	lineInterval = 10 * time.Second       // between lines of the log
	barInterval  = 200 * time.Millisecond // between pictures of the bar
)

// backupProgress shows how far a transfer is: a bar with rate and remaining time on a terminal, else a line now and then.
type backupProgress struct {
	log      *slog.Logger
	terminal io.Writer // nil: nobody watches
	bar      *progressbar.ProgressBar
	began    time.Time
	said     time.Time
}

func newBackupProgress(env *environment) *backupProgress {
	p := &backupProgress{log: env.logger}
	if env.isTerminal(env.stderr) && !env.quiet {
		p.terminal = env.stderr
	}
	return p
}

// update is a backup.Options' Progress.
func (p *backupProgress) update(at backup.Progress) {
	now := time.Now()
	if p.began.IsZero() {
		p.began, p.said = now, now
	}
	interval := lineInterval
	if p.terminal != nil {
		interval = barInterval
	}
	if now.Sub(p.said) < interval {
		return
	}
	p.said = now
	at.Total = max(at.Total, at.Done) // the server's estimate leaves out what it can't know
	if p.terminal != nil {
		p.draw(at)
		return
	}
	rate := float64(at.Done) / now.Sub(p.began).Seconds()
	p.log.Info("base backup", "done", byteSize(float64(at.Done)), "total", byteSize(float64(at.Total)),
		"rate", byteSize(rate)+"/s", "remaining", remaining(at, rate))
}

func (p *backupProgress) draw(at backup.Progress) {
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(at.Total, progressbar.OptionSetWriter(p.terminal), progressbar.OptionSetDescription("base backup"),
			progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowTotalBytes(true),
			progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	}
	p.bar.ChangeMax64(at.Total)
	_ = p.bar.Set64(at.Done) // what can't be drawn is not worth a backup
}

// finish takes the bar away.
func (p *backupProgress) finish() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// remaining estimates the time that the rest takes.
func remaining(at backup.Progress, rate float64) string {
	if rate <= 0 {
		return "unknown"
	}
	return fmt.Sprint(time.Duration(float64(at.Total-at.Done) / rate * float64(time.Second)).Round(time.Second))
}
