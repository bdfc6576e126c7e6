package backup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"walkeep/catalog"
	"walkeep/replication"
	"walkeep/segment"
)

// server is the one that is backed up.
type server struct {
	host             replication.Host
	conn             *replication.Conn
	source           catalog.BackupSource
	version          int
	lineage          segment.Lineage
	settings         map[string]string
	settingsComplete bool
}

// open finds the server and opens its part of the repository. On success the connection is the backup's.
func open(ctx context.Context, o Options) (*session, error) {
	s := &session{options: o, log: o.Log}
	conn, sys, err := choose(ctx, o)
	if err != nil {
		return nil, err
	}
	s.server = server{host: conn.Host(), conn: conn, source: o.From, version: conn.ServerVersion()}
	if err := s.prepare(ctx, sys); err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// choose connects to the first host of the wanted kind.
func choose(ctx context.Context, o Options) (*replication.Conn, replication.System, error) {
	var problems []error
	for _, host := range o.Server.Hosts() {
		conn, sys, err := try(ctx, o, host)
		if err == nil {
			return conn, sys, nil
		}
		problems = append(problems, err)
	}
	return nil, replication.System{}, errors.Join(problems...)
}

func try(ctx context.Context, o Options, host replication.Host) (*replication.Conn, replication.System, error) {
	conn, err := replication.Connect(ctx, o.Server, host)
	if err != nil {
		return nil, replication.System{}, err
	}
	sys, err := conn.Identify(ctx)
	if err == nil && o.SystemID != 0 && sys.ID != o.SystemID {
		err = fmt.Errorf("%s is system %d, not %d", host, sys.ID, o.SystemID)
	}
	if err == nil {
		err = expect(ctx, conn, o.From)
	}
	if err != nil {
		return nil, sys, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return conn, sys, nil
}

func expect(ctx context.Context, conn *replication.Conn, from catalog.BackupSource) error {
	standby, err := conn.InRecovery(ctx)
	if err != nil {
		return err
	}
	is := catalog.FromPrimary
	if standby {
		is = catalog.FromStandby
	}
	if is != from {
		return fmt.Errorf("%s is a %s, and a %s was asked for: see --from", conn.Host(), is, from)
	}
	return nil
}

// prepare learns what the backup's description needs from the server, and opens the catalog.
func (s *session) prepare(ctx context.Context, sys replication.System) error {
	conn := s.server.conn
	size, err := conn.SegmentSize(ctx)
	if err != nil {
		return err
	}
	if s.catalog, _, err = catalog.Create(ctx, s.options.Store, sys.ID, size, time.Now()); err != nil {
		return err
	}
	var history []byte
	if sys.Timeline != 1 {
		if history, err = conn.History(ctx, sys.Timeline); err != nil {
			return err
		}
	}
	if s.server.lineage, err = s.catalog.PutHistory(ctx, sys.Timeline, history); err != nil {
		return err
	}
	if err := s.readSettings(ctx); err != nil {
		return err
	}
	_, started, err := s.catalog.Started(ctx, s.server.lineage)
	if err != nil {
		return err
	}
	if !started && s.options.WAL == WALFromReceiver {
		s.log.Warn("nobody has archived WAL of this server's timeline yet: the backup needs walkeep receive, running when it ends",
			"timeline", uint32(sys.Timeline))
	}
	return nil
}

// readSettings prefers an ordinary connection, which sees more.
func (s *session) readSettings(ctx context.Context) error {
	var err error
	if s.server.settings, err = s.server.conn.NeededSettings(ctx); err != nil {
		return err
	}
	sql, err := replication.OpenSQL(ctx, s.options.Server, s.server.host)
	if err == nil {
		defer func() { _ = sql.Close(context.WithoutCancel(ctx)) }()
		var all map[string]string
		if all, err = sql.EffectiveSettings(ctx); err == nil {
			s.server.settings, s.server.settingsComplete = all, true
			return nil
		}
	}
	s.log.Info("no ordinary connection: the backup keeps only the settings that the replication protocol shows", "error", err)
	return nil
}

// configOutside reports whether postgresql.conf lies outside of the data directory, so that the backup has none.
func (s server) configOutside() bool {
	data, config := s.settings["data_directory"], s.settings["config_file"]
	return data != "" && config != "" && !strings.HasPrefix(filepath.Clean(config), filepath.Clean(data)+"/")
}
