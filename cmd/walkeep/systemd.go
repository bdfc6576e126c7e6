package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"walkeep/dashboard"
)

// statusInterval is how often systemd hears of a changed status at most.
const statusInterval = 5 * time.Second

// A notifier tells the service manager about this process. Without NOTIFY_SOCKET in the environment it says
// nothing. A service manager that doesn't listen is no reason to stop working: the first failure is logged.
type notifier struct {
	logger *slog.Logger
	failed bool
	text   string // last status sent
}

func newNotifier(logger *slog.Logger) *notifier { return &notifier{logger: logger} }

// Ready says that start-up is over.
func (n *notifier) Ready() { n.send(daemon.SdNotifyReady) }

// Status sets the line that "systemctl status" shows. An unchanged text isn't sent again.
func (n *notifier) Status(text string) {
	if text = oneLine(text); text != n.text {
		n.text = text
		n.send("STATUS=" + text)
	}
}

// Stopping says that the process is on its way out.
func (n *notifier) Stopping() { n.send(daemon.SdNotifyStopping) }

func (n *notifier) send(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil && !n.failed {
		n.failed = true
		n.logger.Warn("service manager can't be notified", "error", err)
	}
}

// watch shows text's result as the status and, if the unit has WatchdogSec, pets the watchdog twice in its
// time as long as alive says so, until ctx is done. Once stopping is closed it has said so.
func (n *notifier) watch(ctx context.Context, stopping <-chan struct{}, alive func() bool, text func() string) {
	interval := statusInterval
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.logger.Warn("watchdog is off", "error", err)
	}
	if limit > 0 {
		interval = min(interval, limit/2)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if limit > 0 && alive() {
			n.send(daemon.SdNotifyWatchdog)
		}
		n.Status(text())
		select {
		case <-ctx.Done():
			return
		case <-stopping:
			n.Stopping()
			stopping = nil
		case <-ticker.C:
		}
	}
}

// notifySystemd accompanies a receiver until ctx is done: ready, since a receiver that can't reach its server
// yet is at work too; its status; and the watchdog. A receiver that can't tell its status any more, because
// something holds a lock for good, stops petting the watchdog, and is restarted. Trouble with the server or
// with storage is no reason to: a restart would throw away what is in memory.
func notifySystemd(ctx context.Context, stopping <-chan struct{}, env *environment, status func() dashboard.Status) error {
	n := newNotifier(env.logger)
	n.Ready()
	alive := func() bool { return status().State != dashboard.Stopped }
	text := func() string {
		s := status()
		if s.Time.IsZero() {
			s.Time = dashboard.At(time.Now())
		}
		summary := dashboard.Summarize(s)
		if summary.Problem != "" {
			return summary.Headline + ". Unhealthy: " + summary.Problem
		}
		return summary.Headline + ". " + summary.State
	}
	n.watch(ctx, stopping, alive, text)
	return nil
}
