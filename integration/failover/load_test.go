package failover_test

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"walkeep/integration/poll"
)

// A ledger is what clients were told: the ids of the rows that are committed.
type ledger struct {
	mu        sync.Mutex
	next      int
	committed []int
}

func (l *ledger) take() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next + 1_000_000
}

func (l *ledger) commit(id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.committed = append(l.committed, id)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.committed)
}

// load commits rows over dsn from a few connections, whatever happens to the server, until stop is called.
func (s *site) load(book *ledger, dsn string) (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for ctx.Err() == nil {
				book.client(ctx, dsn)
				pause(ctx, poll.Interval)
			}
		})
	}
	stop = func() {
		cancel()
		clients.Wait()
	}
	s.t.Cleanup(stop)
	return stop
}

// client commits until an error. A commit whose answer is lost is in no ledger.
func (l *ledger) client(ctx context.Context, dsn string) {
	conn, err := pgx.Connect(ctx, dsn+" connect_timeout=5")
	if err != nil {
		return
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	for {
		id := l.take()
		if _, err := conn.Exec(ctx, "INSERT INTO written VALUES ($1)", id); err != nil {
			return
		}
		l.commit(id)
	}
}
