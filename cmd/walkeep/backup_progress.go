package main

import (
	"fmt"
	"log/slog"
	"time"

	"walkeep/backup"
)

// progressInterval is how often a log without a terminal is told.
const progressInterval = 10 * time.Second

// backupProgress shows how far a transfer is: a bar with rate and remaining time on a terminal, else a line now and then.
type backupProgress struct {
	log   *slog.Logger
	quiet bool
	began time.Time
	said  time.Time
}

func newBackupProgress(env *environment) *backupProgress {
	return &backupProgress{log: env.logger, quiet: env.quiet}
}

// update is a backup.Options' Progress.
func (p *backupProgress) update(at backup.Progress) {
	now := time.Now()
	if p.began.IsZero() {
		p.began, p.said = now, now
	}
	if p.quiet || now.Sub(p.said) < progressInterval {
		return
	}
	p.said = now
	rate := float64(at.Done) / now.Sub(p.began).Seconds()
	p.log.Info("base backup", "done", byteSize(float64(at.Done)), "total", byteSize(float64(max(at.Done, at.Total))),
		"rate", byteSize(rate)+"/s", "remaining", remaining(at, rate))
}

func (p *backupProgress) finish() {}

// remaining estimates the time that the rest takes.
func remaining(at backup.Progress, rate float64) string {
	if rate <= 0 || at.Total <= 0 {
		return "unknown"
	}
	left := time.Duration(float64(max(0, at.Total-at.Done)) / rate * float64(time.Second))
	return fmt.Sprint(left.Round(time.Second))
}
