package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxMessageBytes bounds each protocol message outside the stream: the largest is a history file.
const maxMessageBytes = 4 << 20

// hijackTimeout bounds the exchange that empties the read buffer before a connection is handed over.
const hijackTimeout = 10 * time.Second

// A Conn is a physical replication connection: it takes replication commands and SHOW, one at a time. It is
// not safe for concurrent use. After a FATAL error or a timeout it is closed; every method then fails.
type Conn struct {
	pg      *pgconn.PgConn
	host    Host
	version int
}

// Connect opens a physical replication connection to one host. The name is resolved anew on each call.
// Classify tells what to do about an error.
func Connect(ctx context.Context, cfg *Config, host Host) (*Conn, error) {
	pc := cfg.prepare(host.replication)
	pc.RuntimeParams["replication"] = "yes"
	// Makes transaction_read_only tell recovery from a mere default, for InRecovery on 13.
	pc.RuntimeParams["default_transaction_read_only"] = "off"
	pg, err := connect(ctx, pc, host)
	if err != nil {
		return nil, err
	}
	c := &Conn{pg: pg, host: host}
	if err := c.readVersion(ctx); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

// prepare copies one host's configuration and adds what all our connections share. lc_messages stays the
// server's: only superusers may set it, and Classify reads no text.
func (c *Config) prepare(host *pgconn.Config) *pgconn.Config {
	pc := host.Copy()
	pc.ConnectTimeout = c.ConnectTimeout
	pc.DialFunc = c.dial
	pc.RuntimeParams["application_name"] = c.ApplicationName
	pc.RuntimeParams["client_encoding"] = "UTF8"
	return pc
}

// connect wraps pgconn.ConnectConfig so that the error begins with the host and not with pgconn's preamble.
func connect(ctx context.Context, pc *pgconn.Config, host Host) (*pgconn.PgConn, error) {
	pg, err := pgconn.ConnectConfig(ctx, pc)
	if err != nil {
		var ce *pgconn.ConnectError
		if errors.As(err, &ce) {
			err = distinct(ce.Unwrap())
		}
		return nil, fmt.Errorf("connect to %s as %s: %w", host, pc.User, err)
	}
	return pg, nil
}

// distinct drops repetitions from joined errors: with sslmode=prefer pgconn tries each address twice.
func distinct(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var kept []error
	seen := map[string]bool{}
	for _, e := range joined.Unwrap() {
		if text := e.Error(); !seen[text] {
			seen[text] = true
			kept = append(kept, e)
		}
	}
	return errors.Join(kept...)
}

func (c *Conn) readVersion(ctx context.Context) error {
	text, err := c.Show(ctx, "server_version_num")
	if err != nil {
		return err
	}
	c.version, err = strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("server_version_num %q is not a number", text)
	}
	return nil
}

// Host is the server this connection was opened to.
func (c *Conn) Host() Host { return c.host }

// ServerVersion returns server_version_num, for example 150018.
func (c *Conn) ServerVersion() int { return c.version }

// PID is the server process at the other end, as in pg_stat_replication.
func (c *Conn) PID() int { return int(c.pg.PID()) }

// ParameterStatus returns a parameter that the server reported, or "". Also after Hijack.
func (c *Conn) ParameterStatus(name string) string { return c.pg.ParameterStatus(name) }

// Show returns a run-time parameter. name is letters, digits, underscores and dots.
func (c *Conn) Show(ctx context.Context, name string) (string, error) {
	if !isParameterName(name) {
		return "", fmt.Errorf("show %q: not a parameter name", name)
	}
	// The keyword must be upper case: repl_scanner.l takes anything else for SQL.
	row, err := c.queryRow(ctx, "SHOW "+name, 1)
	if err != nil {
		return "", fmt.Errorf("show %s: %w", name, err)
	}
	return string(row[0]), nil
}

func isParameterName(name string) bool {
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '.':
		default:
			return false
		}
	}
	return name != ""
}

// Hijack gives the socket away, with nothing buffered and no deadline set, for the stream. The Conn keeps the
// server's parameters; its commands fail from here on and Close does nothing.
func (c *Conn) Hijack() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hijackTimeout)
	defer cancel()
	if err := c.synchronize(ctx); err != nil {
		return nil, fmt.Errorf("hijack connection: %w", err)
	}
	hijacked, err := c.pg.Hijack()
	if err != nil {
		return nil, fmt.Errorf("hijack connection: %w", err)
	}
	if err := hijacked.Conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(fmt.Errorf("hijack connection: %w", err), hijacked.Conn.Close())
	}
	return hijacked.Conn, nil
}

// synchronize empties pgconn's read buffer. SyncConn pings with an empty SQL query, which a physical
// walsender refuses; the refusal empties the buffer just as well.
func (c *Conn) synchronize(ctx context.Context) error {
	var err error
	for range 3 {
		if err = c.pg.SyncConn(ctx); err == nil {
			return nil
		}
		if sqlState(err) != pgerrcode.FeatureNotSupported {
			return err
		}
	}
	return err
}

// Close ends the connection with a Terminate message. Closing twice, or after Hijack, does nothing.
func (c *Conn) Close(ctx context.Context) error {
	if c.pg.IsClosed() {
		return nil
	}
	if err := c.pg.Close(ctx); err != nil {
		return fmt.Errorf("close connection: %w", err)
	}
	return nil
}

// queryRow runs a command whose result is exactly one row of at least n columns. A NULL is nil.
func (c *Conn) queryRow(ctx context.Context, command string, n int) ([][]byte, error) {
	rows, err := query(ctx, c.pg, command)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) < n {
		return nil, fmt.Errorf("server sent %d rows, want 1 of at least %d columns", len(rows), n)
	}
	return rows[0], nil
}

// query runs one command in the simple protocol and returns the rows of its only result set.
func query(ctx context.Context, pg *pgconn.PgConn, command string) ([][][]byte, error) {
	results, err := pg.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("server sent %d results, want 1", len(results))
	}
	return results[0].Rows, nil
}

// quoteName quotes an identifier for SQL and for replication commands, which share the rule.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
