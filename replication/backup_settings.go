package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
)

// neededSettings are those without which a restore may not start, or not know how: what recovery demands to be at least as
// large as on the primary (access/transam/xlogrecovery.c: CheckRequiredParameterValues), what the cluster was built with,
// what must be loaded to replay, and where the configuration is.
var neededSettings = []string{
	"server_version", "server_version_num", "wal_level", "wal_log_hints", "wal_segment_size", "data_checksums", "block_size",
	"max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction",
	"max_replication_slots", "track_commit_timestamp", "shared_preload_libraries", "data_directory_mode",
	"data_directory", "config_file", "hba_file", "ident_file",
}

// secretSettings may hold passwords and are never kept.
var secretSettings = []string{"primary_conninfo", "ssl_passphrase_command", "restore_command", "archive_command", "recovery_end_command", "archive_cleanup_command"}

// NeededSettings returns the settings that a restore needs, as SHOW prints them, as far as a replication connection may see
// them.
func (c *Conn) NeededSettings(ctx context.Context) (map[string]string, error) {
	settings := map[string]string{}
	for _, name := range neededSettings {
		value, err := c.Show(ctx, name)
		switch sqlState(err) {
		case pgerrcode.InsufficientPrivilege, pgerrcode.UndefinedObject:
			continue
		}
		if err != nil {
			return nil, err
		}
		settings[name] = value
	}
	return settings, nil
}

// EffectiveSettings returns the settings that a restore needs and all others that somebody has set on this server, as SHOW
// prints them; none that may hold a secret. Settings that only pg_read_all_settings may see are missing without it.
func (s *SQL) EffectiveSettings(ctx context.Context) (map[string]string, error) {
	type setting struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	rows, err := queryJSON[setting](ctx, s.pg, fmt.Sprintf(`SELECT name, current_setting(name) AS value FROM pg_settings
		WHERE name IN (%s) OR source IN ('configuration file', 'command line', 'environment variable') AND name NOT IN (%s)`,
		literals(neededSettings), literals(secretSettings)))
	if err != nil {
		return nil, fmt.Errorf("read pg_settings: %w", err)
	}
	settings := map[string]string{}
	for _, row := range rows {
		settings[row.Name] = row.Value
	}
	return settings, nil
}

func literals(names []string) string {
	var quoted []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		quoted = append(quoted, quoteLiteral(name))
	}
	return strings.Join(quoted, ", ")
}
