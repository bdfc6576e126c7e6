package replication

import "context"

// Exec runs any command, for tests that provoke errors.
func (c *Conn) Exec(ctx context.Context, command string) error {
	_, err := c.pg.Exec(ctx, command).ReadAll()
	return err
}

// Exec runs any statement, for tests.
func (s *SQL) Exec(ctx context.Context, sql string) error {
	_, err := s.pg.Exec(ctx, sql).ReadAll()
	return err
}

// Passwords returns the passwords for replication and for SQL connections.
func (h Host) Passwords() (replication, sql string) { return h.replication.Password, h.sql.Password }

// Database returns the database that SQL connections go to.
func (h Host) Database() string { return h.sql.Database }

// RuntimeParams returns what is sent to the server beyond user and database.
func (h Host) RuntimeParams() map[string]string { return h.replication.RuntimeParams }

// TLSNames returns the server names that TLS verifies, "" for an attempt without TLS.
func (h Host) TLSNames() []string {
	var names []string
	if c := h.replication.TLSConfig; c != nil {
		names = append(names, c.ServerName)
	} else {
		names = append(names, "")
	}
	for _, f := range h.replication.Fallbacks {
		if f.TLSConfig != nil {
			names = append(names, f.TLSConfig.ServerName)
		} else {
			names = append(names, "")
		}
	}
	return names
}
