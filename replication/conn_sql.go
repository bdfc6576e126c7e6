package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walkeep/segment"
)

// A SQL is an ordinary connection, for what the replication protocol can't tell. Everything works without
// one, only with less to say. It is not safe for concurrent use.
type SQL struct {
	pg      *pgconn.PgConn
	host    Host
	version int
}

// OpenSQL connects to the database of the DSN, or to "postgres" if it names none.
func OpenSQL(ctx context.Context, cfg *Config, host Host) (*SQL, error) {
	pc := cfg.prepare(host.sql)
	pc.RuntimeParams["search_path"] = "pg_catalog" // no function of the database's users gets called
	pc.RuntimeParams["timezone"] = "UTC"
	pg, err := connect(ctx, pc, host)
	if err != nil {
		return nil, err
	}
	s := &SQL{pg: pg, host: host}
	text, err := s.Setting(ctx, "server_version_num")
	if err == nil {
		s.version, err = strconv.Atoi(text)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("server version: %w", err), s.Close(ctx))
	}
	return s, nil
}

// Close ends the connection.
func (s *SQL) Close(ctx context.Context) error {
	if s.pg.IsClosed() {
		return nil
	}
	if err := s.pg.Close(ctx); err != nil {
		return fmt.Errorf("close connection: %w", err)
	}
	return nil
}

// Host is the server this connection was opened to.
func (s *SQL) Host() Host { return s.host }

// ServerVersion returns server_version_num.
func (s *SQL) ServerVersion() int { return s.version }

// Setting returns a run-time parameter, "" if this server doesn't have it.
func (s *SQL) Setting(ctx context.Context, name string) (string, error) {
	text, err := s.value(ctx, "SELECT coalesce(current_setting("+quoteLiteral(name)+", true), '')")
	if err != nil {
		return "", fmt.Errorf("setting %s: %w", name, err)
	}
	return text, nil
}

// A Role is the role of a connection, as the server sees it.
type Role struct {
	Name        string `json:"name"`
	Superuser   bool   `json:"superuser"`
	Replication bool   `json:"replication"` // may replicate: has REPLICATION or is superuser
	ClientAddr  string `json:"client_addr"` // our IP address, "" on a Unix-domain socket
}

// Role returns who we are.
func (s *SQL) Role(ctx context.Context) (Role, error) {
	rows, err := queryJSON[Role](ctx, s.pg, `SELECT rolname AS name, rolsuper AS superuser,
		rolreplication OR rolsuper AS replication, coalesce(host(inet_client_addr()), '') AS client_addr
		FROM pg_roles WHERE rolname = current_user`)
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("current_user has %d rows in pg_roles", len(rows))
	}
	if err != nil {
		return Role{}, fmt.Errorf("role: %w", err)
	}
	return rows[0], nil
}

// A SlotInfo is a row of pg_replication_slots. All roles may read it.
type SlotInfo struct {
	Name               string      `json:"name"`
	Type               string      `json:"type"` // "physical" or "logical"
	Active             bool        `json:"active"`
	ActivePID          int         `json:"active_pid"`  // 0 if not active
	RestartLSN         segment.LSN `json:"restart_lsn"` // 0/0 if it retains nothing
	Retained           int64       `json:"retained"`    // bytes from RestartLSN to the end of WAL
	WALStatus          string      `json:"wal_status"`  // "reserved", "extended", "unreserved", "lost" or ""
	SafeWALSize        *int64      `json:"safe_wal_size"`
	InactiveSince      *time.Time  `json:"inactive_since,omitempty"`      // 17 and later
	InvalidationReason string      `json:"invalidation_reason,omitempty"` // 17 and later
}

// Lost reports whether the slot no longer retains WAL and never will: 16 and 17 still let a stream use it.
func (i SlotInfo) Lost() bool { return i.WALStatus == "lost" || i.InvalidationReason != "" }

// endOfWAL is an SQL expression for the position up to which the server has WAL.
const endOfWAL = `(CASE WHEN pg_is_in_recovery()
	THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_lsn() END)`

// Slots returns all slots, by name.
func (s *SQL) Slots(ctx context.Context) ([]SlotInfo, error) {
	newer := ""
	if s.version >= 170000 {
		newer = ", inactive_since, coalesce(invalidation_reason, '') AS invalidation_reason"
	}
	slots, err := queryJSON[SlotInfo](ctx, s.pg, `SELECT slot_name AS name, slot_type AS type, active,
		coalesce(active_pid, 0) AS active_pid, coalesce(restart_lsn, '0/0') AS restart_lsn,
		coalesce(pg_wal_lsn_diff(`+endOfWAL+`, restart_lsn), 0)::int8 AS retained,
		coalesce(wal_status, '') AS wal_status, safe_wal_size`+newer+`
		FROM pg_replication_slots ORDER BY slot_name`)
	if err != nil {
		return nil, fmt.Errorf("read pg_replication_slots: %w", err)
	}
	return slots, nil
}

// A SenderInfo is a row of pg_stat_replication. Roles without pg_read_all_stats see the process only.
type SenderInfo struct {
	PID             int    `json:"pid"`
	ApplicationName string `json:"application_name"`
	ClientAddr      string `json:"client_addr"` // "" on a Unix-domain socket, and where hidden
	State           string `json:"state"`
	SyncState       string `json:"sync_state"`
}

// Senders returns the connected walsenders.
func (s *SQL) Senders(ctx context.Context) ([]SenderInfo, error) {
	senders, err := queryJSON[SenderInfo](ctx, s.pg, `SELECT pid, coalesce(application_name, '') AS application_name,
		coalesce(host(client_addr), '') AS client_addr, coalesce(state, '') AS state,
		coalesce(sync_state, '') AS sync_state FROM pg_stat_replication ORDER BY pid`)
	if err != nil {
		return nil, fmt.Errorf("read pg_stat_replication: %w", err)
	}
	return senders, nil
}

// Position returns the end of WAL: written on a primary, received or replayed on a standby.
func (s *SQL) Position(ctx context.Context) (segment.LSN, error) {
	text, err := s.value(ctx, "SELECT "+endOfWAL)
	if err != nil {
		return 0, fmt.Errorf("end of WAL: %w", err)
	}
	return segment.ParseLSN(text)
}

// AverageWALRate returns bytes of WAL per second since the server's statistics began, and over how long that
// was. ErrUnsupported before PostgreSQL 14.
func (s *SQL) AverageWALRate(ctx context.Context) (bytesPerSecond float64, over time.Duration, err error) {
	if s.version < 140000 {
		return 0, 0, fmt.Errorf("WAL statistics: %w", ErrUnsupported)
	}
	type stat struct {
		Bytes   float64 `json:"bytes"`
		Seconds float64 `json:"seconds"`
	}
	rows, err := queryJSON[stat](ctx, s.pg, `SELECT wal_bytes::float8 AS bytes,
		greatest(extract(epoch FROM now() - stats_reset), 1)::float8 AS seconds FROM pg_stat_wal`)
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("pg_stat_wal has %d rows", len(rows))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("WAL statistics: %w", err)
	}
	return rows[0].Bytes / rows[0].Seconds, time.Duration(rows[0].Seconds * float64(time.Second)), nil
}

// AdvanceSlot moves a slot that nobody uses forward to lsn, or to the server's own position if that is less.
// For slots on standbys, which no stream advances.
func (s *SQL) AdvanceSlot(ctx context.Context, name string, lsn segment.LSN) error {
	if err := ValidateSlotName(name); err != nil {
		return err
	}
	_, err := s.value(ctx, fmt.Sprintf("SELECT end_lsn FROM pg_replication_slot_advance(%s, %s)",
		quoteLiteral(name), quoteLiteral(lsn.String())))
	if err != nil {
		return fmt.Errorf("advance slot %s to %s: %w", name, lsn, err)
	}
	return nil
}

// value returns the only column of the only row.
func (s *SQL) value(ctx context.Context, sql string) (string, error) {
	rows, err := query(ctx, s.pg, sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("server sent %d rows, want 1 of one column", len(rows))
	}
	return string(rows[0][0]), nil
}

// queryJSON runs a SELECT and reads each row into a T by its column names.
func queryJSON[T any](ctx context.Context, pg *pgconn.PgConn, sql string) ([]T, error) {
	rows, err := query(ctx, pg, "SELECT row_to_json(r) FROM ("+sql+") r")
	if err != nil {
		return nil, err
	}
	list := make([]T, len(rows))
	for i, row := range rows {
		if err := json.Unmarshal(row[0], &list[i]); err != nil {
			return nil, fmt.Errorf("row %d: %w", i+1, err)
		}
	}
	return list, nil
}

// quoteLiteral quotes a string for SQL, safe whatever standard_conforming_strings says.
func quoteLiteral(s string) string {
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return " E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}
