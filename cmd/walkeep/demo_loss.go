package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walkeep/dashboard"
)

// demoLoss is what a disaster has cost.
type demoLoss struct {
	committed int           // acknowledged to the clients
	recovered int           // of these
	span      time.Duration // from the oldest lost commit's acknowledgement to the disaster; 0 if nothing is lost
	shown     time.Duration // how much walkeep had said would be lost, at the disaster
}

// lose puts the server under load, loses it, restores it, and judges what is missing.
func (d *demo) lose(ctx context.Context, load time.Duration, judge func(*demoLoss) (string, error)) error {
	clients, err := startDemoLoad(ctx, d.server.DSN(), d.rows)
	defer clients.running.Wait()
	if err == nil {
		err = d.watchLoad(ctx, load, clients)
	}
	shown, happened, err := d.disaster(err)
	clients.running.Wait()
	if err != nil {
		return err
	}
	d.screen.step("load", "%s", loadText(clients, shown.status))
	d.screen.alarm("disaster", "server and receiver killed with -9, data directory deleted")
	if err := d.recover(ctx); err != nil {
		return err
	}
	loss, err := d.count(ctx, clients, shown, happened)
	if err != nil {
		return err
	}
	verdict, err := judge(loss)
	if err != nil {
		return err
	}
	d.screen.proof("proof", "%s", verdict)
	return nil
}

// watchLoad shows how the load and the protection go on.
func (d *demo) watchLoad(ctx context.Context, load time.Duration, clients *demoLoad) error {
	end := time.Now().Add(load)
	return d.receiver.await(ctx, func(s dashboard.Status) bool {
		d.screen.live("load", "%s", loadText(clients, s))
		return time.Now().After(end)
	})
}

func loadText(clients *demoLoad, s dashboard.Status) string {
	return fmt.Sprintf("%d clients, %s commits; %s", demoSessions, thousands(clients.commits()), strings.ToLower(dashboard.Summarize(s).Headline))
}

// disaster kills and deletes, also if the load has failed.
func (d *demo) disaster(err error) (shown demoShown, happened time.Time, _ error) {
	happened = time.Now()
	err = errors.Join(err, d.receiver.kill(), d.server.Kill9(), os.RemoveAll(d.server.DataDir))
	return d.receiver.newest(), happened, err
}

// recover restores the base backup and lets PostgreSQL take the WAL from the repository, as far as there is any.
func (d *demo) recover(ctx context.Context) error {
	d.server.DataDir = d.path("recovered")
	if err := os.CopyFS(d.server.DataDir, os.DirFS(d.path("base"))); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.server.DataDir, "recovery.signal"), nil, 0o644); err != nil {
		return err
	}
	fetch := fmt.Sprintf(`"%s" fetch --repo "%s" %%f %%p || exit $(( $? == 1 ? 1 : 200 ))`, d.program, d.repo())
	// Without hot_standby the server opens when recovery has ended, not before.
	if err := d.server.Configure(map[string]string{"restore_command": fetch, "hot_standby": "off"}); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(d.server.DataDir, 0o700), d.server.Account.Own(d.server.DataDir)); err != nil {
		return err
	}
	before, begin := d.restoredFiles(), time.Now()
	if err := d.server.Start(ctx); err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	d.screen.step("recovery", "base backup and %d WAL files from walkeep fetch, open after %.1f s", d.restoredFiles()-before, time.Since(begin).Seconds())
	return nil
}

// restoredFiles counts in the server's log what restore_command has brought.
func (d *demo) restoredFiles() int {
	log, err := os.ReadFile(d.server.LogPath())
	if err != nil {
		return 0
	}
	return strings.Count(string(log), "restored log file")
}

// count compares the rows of the restored server with what the clients were told.
func (d *demo) count(ctx context.Context, clients *demoLoad, shown demoShown, happened time.Time) (*demoLoss, error) {
	rows, err := d.countRows(ctx)
	if err != nil {
		return nil, err
	}
	age := time.Duration(shown.status.LagSeconds * float64(time.Second))
	loss := &demoLoss{committed: clients.commits(), recovered: clients.commits(), shown: happened.Sub(shown.at) + age}
	for session, times := range clients.committed {
		switch came := rows[session] - d.rows[session]; {
		case came < 0:
			return nil, fmt.Errorf("client %d has lost rows that had been recovered before", session)
		case came > len(times)+1:
			return nil, fmt.Errorf("client %d has %d rows more than it wrote", session, came-len(times))
		case came < len(times):
			loss.recovered -= len(times) - came
			loss.span = max(loss.span, happened.Sub(times[came]), 1)
		}
	}
	d.rows = rows
	return loss, nil
}

// countRows returns how many rows each session has. Each row must hold what was written, and none may be missing between.
func (d *demo) countRows(ctx context.Context) (rows [demoSessions]int, err error) {
	conn, err := pgx.Connect(ctx, d.server.DSN())
	if err != nil {
		return rows, err
	}
	defer closeQuietly(ctx, conn.Close)
	answer, err := conn.Query(ctx, demoCount)
	if err != nil {
		return rows, err
	}
	var session, count, last int
	var intact bool
	_, err = pgx.ForEachRow(answer, []any{&session, &count, &last, &intact}, func() error {
		if session < 0 || session >= demoSessions || count != last || !intact {
			return fmt.Errorf("client %d has %d rows up to number %d, as written: %t", session, count, last, intact)
		}
		rows[session] = count
		return nil
	})
	return rows, err
}

// demoTolerance is how much later than a client walkeep may hear of a commit, on a busy machine.
const demoTolerance = 500 * time.Millisecond

// asynchronous judges a loss by what walkeep had shown.
func (l *demoLoss) asynchronous() (string, error) {
	text := fmt.Sprintf("%s of %s commits recovered", thousands(l.recovered), thousands(l.committed))
	if l.span == 0 {
		return text + ": nothing is lost", nil
	}
	text += fmt.Sprintf(", lost: the last %.1f s (walkeep had shown %.1f s)", l.span.Seconds(), l.shown.Seconds())
	if l.span > l.shown+demoTolerance {
		return "", fmt.Errorf("%s: more than walkeep had shown", text)
	}
	return text, nil
}

// synchronous accepts no loss.
func (l *demoLoss) synchronous() (string, error) {
	text := fmt.Sprintf("%s of %s commits recovered", thousands(l.recovered), thousands(l.committed))
	if l.span > 0 {
		return "", fmt.Errorf("%s: %d were lost although their COMMIT had returned", text, l.committed-l.recovered)
	}
	return text + ": not one is lost", nil
}
