package restore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"walkeep/integration/poll"
	"walkeep/integration/postgres"
)

const (
	loadSessions = 4
	loadTable    = "CREATE TABLE orders (session int, serial int, content text NOT NULL, PRIMARY KEY (session, serial))"
	loadInsert   = "INSERT INTO orders VALUES ($1, $2, repeat(md5($1::int || '/' || $2::int), 60))"
	loadCount    = `SELECT session, count(*), max(serial), bool_and(content = repeat(md5(session || '/' || serial), 60)) FROM orders GROUP BY session`
)

// A load is clients that write until the server is gone, and remember what they were told is committed.
type load struct {
	running sync.WaitGroup

	mu        sync.Mutex
	committed [loadSessions]int // number of the last row whose COMMIT returned
}

// startLoad lets the clients write, behind the rows they have.
func (l *lab) startLoad(rows [loadSessions]int) {
	l.t.Helper()
	l.load = &load{committed: rows}
	for session, row := range rows {
		conn, err := l.Connect(l.ctx)
		must(l.t, err)
		l.load.running.Go(func() {
			defer func() { _ = conn.Close(context.WithoutCancel(l.ctx)) }()
			for row++; ; row++ {
				if _, err := conn.Exec(l.ctx, loadInsert, session, row); err != nil {
					return // not acknowledged
				}
				l.load.mu.Lock()
				l.load.committed[session] = row
				l.load.mu.Unlock()
			}
		})
	}
}

func (l *load) wait() {
	if l != nil {
		l.running.Wait()
	}
}

func (l *load) rows() [loadSessions]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.committed
}

// more waits until each client has written n rows more, and returns what was committed before what was durable then: rows
// that no disaster from now on may lose.
func (l *lab) more(n int) [loadSessions]int {
	l.t.Helper()
	begin := l.load.rows()
	must(l.t, poll.Until(l.ctx, "the load", func(context.Context) (bool, error) {
		for session, row := range l.load.rows() {
			if row < begin[session]+n {
				return false, nil
			}
		}
		return true, nil
	}))
	safe := l.load.rows()
	flushed, err := l.FlushLSN(l.ctx)
	must(l.t, err)
	must(l.t, l.receiver.WaitDurable(l.ctx, flushed))
	return safe
}

// holds checks that a server has at least the rows safe, no more than were written, none missing in between, and all as they
// were written.
func holds(t testing.TB, ctx context.Context, s *postgres.Server, safe, written [loadSessions]int) (rows [loadSessions]int) {
	t.Helper()
	conn, err := s.Connect(ctx)
	must(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	answer, err := conn.Query(ctx, loadCount)
	must(t, err)
	var session, count, last int
	var intact bool
	_, err = pgx.ForEachRow(answer, []any{&session, &count, &last, &intact}, func() error {
		if count != last || !intact {
			return fmt.Errorf("client %d has %d rows up to number %d, as written: %t", session, count, last, intact)
		}
		rows[session] = count
		return nil
	})
	must(t, err)
	for session := range rows {
		// One more may have been committed without its client having heard of it.
		if rows[session] < safe[session] || rows[session] > written[session]+1 {
			t.Errorf("client %d has %d rows, want from %d to %d", session, rows[session], safe[session], written[session]+1)
		}
	}
	return rows
}
