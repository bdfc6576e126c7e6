package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"walkeep/replication"
)

// connect tells whether receive could connect, and what to mend if not.
func (f *serverFacts) connect() []checkResult {
	if f.connectErr != nil {
		return []checkResult{f.connectFailure()}
	}
	kind := "primary"
	if f.standby {
		kind = "standby"
	}
	return []checkResult{
		passed("connect", fmt.Sprintf("replication connection to %s, %s with PostgreSQL %s, system identifier %d",
			f.host, kind, f.settings["server_version"], f.systemID)),
		passed("pg_hba", fmt.Sprintf("lets %s connect for replication", f.host.User())),
		passed("role", fmt.Sprintf("%s may replicate", f.host.User())),
	}
}

// connectFailure goes by SQLSTATE and the server's function, as replication.Classify does.
func (f *serverFacts) connectFailure() checkResult {
	detail := f.connectErr.Error()
	user := quoteIdentifier(f.host.User())
	var pgErr *pgconn.PgError
	if !errors.As(f.connectErr, &pgErr) {
		return f.unreachable(detail)
	}
	switch {
	case pgErr.Code == "28000" && pgErr.Routine == "ClientAuthentication":
		return failed("pg_hba", detail, fmt.Sprintf("add to pg_hba.conf, above any line that rejects: %s    then: SELECT pg_reload_conf();",
			f.hbaLine("replication")))
	case pgErr.Code == "28000" && pgErr.Routine == "InitializeSessionUserId":
		return failed("role", detail, fmt.Sprintf("CREATE ROLE %s LOGIN REPLICATION PASSWORD '...'; or, if it exists: ALTER ROLE %s LOGIN REPLICATION;", user, user))
	case pgErr.Code == "28000":
		return failed("password", detail, fmt.Sprintf("the line of pg_hba.conf that applies asks for something this client can't show; "+
			"put above it: %s    then: SELECT pg_reload_conf();", f.hbaLine("replication")))
	case pgErr.Code == "28P01":
		return failed("password", detail, fmt.Sprintf("ALTER ROLE %s PASSWORD '...'; and into ~/.pgpass: %s:%d:*:%s:PASSWORD",
			user, f.host.Name, f.host.Port, f.host.User()))
	case pgErr.Code == "42501" && pgErr.Routine == "InitPostgres":
		return failed("role", detail, fmt.Sprintf("ALTER ROLE %s REPLICATION;", user))
	case pgErr.Code == "53300":
		return failed("walsenders", detail, f.moreWalsenders())
	case pgErr.Code == "08P01":
		return failed("connect", detail, "is a connection pooler in between? Let --primary name PostgreSQL itself")
	case replication.Classify(f.connectErr) == replication.ClassRetry:
		return failed("connect", detail, "wait until the server accepts connections, then check again")
	}
	return failed("connect", detail, "see the server's log")
}

// unreachable explains errors from below the protocol.
func (f *serverFacts) unreachable(detail string) checkResult {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		lookup    *net.DNSError
		network   *net.OpError
	)
	err := f.connectErr
	switch {
	case errors.As(err, &authority):
		return failed("tls", detail, "add sslrootcert=FILE to --primary, the certificate of the authority that signed the server's")
	case errors.As(err, &hostname):
		return failed("tls", detail, "connect by a name that is in the server's certificate, or use sslmode=verify-ca")
	case errors.As(err, &lookup):
		return failed("connect", detail, fmt.Sprintf("correct the host name %s in --primary", f.host.Name))
	case errors.As(err, &network) && f.host.IsSocket():
		return failed("connect", detail, "is the server running, and is this directory in its unix_socket_directories?")
	case errors.As(err, &network), pgconn.Timeout(err):
		return failed("connect", detail, fmt.Sprintf("is the server running on port %d, is the way through firewalls free, and does it listen there? "+
			"ALTER SYSTEM SET listen_addresses = '*'; then restart it", f.host.Port))
	case f.host.RequiresTLS():
		return failed("tls", detail, "ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf(); with server.crt and server.key in the data directory, or use sslmode=prefer")
	}
	return failed("connect", detail, "see the server's log")
}

// sql tells what can't be checked without an ordinary connection.
func (f *serverFacts) sql() []checkResult {
	if f.sqlErr == nil {
		return []checkResult{passed("sql", "ordinary connection works")}
	}
	lost := "free slots and walsenders, who holds the slot, its remaining room and the long-term WAL rate stay unknown; receive works without"
	detail := fmt.Sprintf("no ordinary connection: %s; %s", f.sqlErr, lost)
	var pgErr *pgconn.PgError
	if errors.As(f.sqlErr, &pgErr) && pgErr.Routine == "ClientAuthentication" {
		return []checkResult{warned("sql", detail, fmt.Sprintf("add to pg_hba.conf: %s    then: SELECT pg_reload_conf();", f.hbaLine("postgres")))}
	}
	return []checkResult{warned("sql", detail, "let the role connect to database postgres")}
}

// hbaLine is the line of pg_hba.conf that lets us in.
func (f *serverFacts) hbaLine(database string) string {
	user := f.host.User()
	if !isPlainName(user) {
		user = quoteIdentifier(user)
	}
	if f.host.IsSocket() {
		return fmt.Sprintf("local %s %s scram-sha-256", database, user)
	}
	kind := "host"
	if f.host.RequiresTLS() {
		kind = "hostssl"
	}
	return fmt.Sprintf("%s %s %s %s scram-sha-256", kind, database, user, f.clientNetwork())
}

// clientNetwork is our address as the server saw it, as a network of one: from SQL if that works, else from
// the server's message, which quotes it in every language.
func (f *serverFacts) clientNetwork() string {
	text := ""
	if f.role != nil {
		text = f.role.ClientAddr
	}
	var pgErr *pgconn.PgError
	for _, err := range []error{f.connectErr, f.sqlErr} {
		if text == "" && errors.As(err, &pgErr) {
			text = firstAddress(pgErr.Message)
		}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return "ADDRESS_OF_THIS_HOST/32"
	}
	addr = addr.WithZone("").Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()).String()
}

// firstAddress returns the first IP address in a message.
func firstAddress(message string) string {
	isSeparator := func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdefABCDEF.:%", r)
	}
	for _, field := range strings.FieldsFunc(message, isSeparator) {
		if _, err := netip.ParseAddr(field); err == nil {
			return field
		}
	}
	return ""
}

func isPlainName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && s != "all" && s != "replication"
}

// quoteIdentifier quotes a name for SQL.
func quoteIdentifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
