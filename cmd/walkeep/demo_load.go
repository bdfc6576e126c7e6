package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// demoSessions is how many clients write at a time.
const demoSessions = 4

// Each row is a transaction, and its content can be computed again from its key.
const (
	demoTable  = "CREATE TABLE orders (session int, serial int, content text NOT NULL, PRIMARY KEY (session, serial))"
	demoInsert = "INSERT INTO orders VALUES ($1, $2, repeat(md5($1::int || '/' || $2::int), 20))"
	demoCount  = `SELECT session, count(*), max(serial), bool_and(content = repeat(md5(session || '/' || serial), 20))
		FROM orders GROUP BY session`
)

// demoLoad is clients that write until the server is gone, and remember what they were told is committed.
type demoLoad struct {
	running sync.WaitGroup

	mu        sync.Mutex
	committed [demoSessions][]time.Time // when each COMMIT returned: serial first, first+1 ...
}

// startDemoLoad connects the clients and lets them write. before says how many rows each has already.
func startDemoLoad(ctx context.Context, dsn string, before [demoSessions]int) (*demoLoad, error) {
	l := &demoLoad{}
	for session, rows := range before {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return l, fmt.Errorf("client %d: %w", session, err)
		}
		l.running.Go(func() {
			defer closeQuietly(ctx, conn.Close)
			for serial := rows + 1; ; serial++ {
				if _, err := conn.Exec(ctx, demoInsert, session, serial); err != nil {
					return // the server is gone, as planned: this row was not acknowledged
				}
				l.note(session)
			}
		})
	}
	return l, nil
}

// note remembers that a commit was acknowledged now.
func (l *demoLoad) note(session int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.committed[session] = append(l.committed[session], time.Now())
}

// commits is how many were acknowledged.
func (l *demoLoad) commits() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.committed {
		n += len(times)
	}
	return n
}
