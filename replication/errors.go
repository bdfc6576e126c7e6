package replication

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Class says what an error asks for.
type Class int

// The classes of errors.
const (
	// ClassNone: no error.
	ClassNone Class = iota
	// ClassRetry: the server or the network is away for a while. After a FATAL 57P01 look at the slot too:
	// invalidating a slot ends its walsender that way.
	ClassRetry
	// ClassSlotActive: somebody else holds the slot, or the server hasn't noticed yet that we left.
	// SlotHolder may tell the process.
	ClassSlotActive
	// ClassSlotMissing: there is no such slot on this server.
	ClassSlotMissing
	// ClassSlotInvalid: the slot has been invalidated and will never work again (18 and later say so).
	ClassSlotInvalid
	// ClassWALRemoved: a segment or history file is no longer on this server.
	ClassWALRemoved
	// ClassReconcile: the requested position or timeline is not part of this server's history.
	ClassReconcile
	// ClassAuth: who we are, what we may do, or whom we trust must be mended by a person.
	ClassAuth
	// ClassLimits: a limit or a setting of the server is in the way.
	ClassLimits
	// ClassBug: we sent what this server can't understand.
	ClassBug
	// ClassUnknown: none of the above. A reason to tell somebody, not a reason to stop.
	ClassUnknown
)

var classNames = [...]string{
	"none", "retry", "slot active", "slot missing", "slot invalid", "WAL removed", "reconcile", "auth", "limits",
	"bug", "unknown",
}

// String names the class for logs.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return "class " + strconv.Itoa(int(c))
	}
	return classNames[c]
}

// Classify tells what an error from a connection asks for. It goes by SQLSTATE and the name of the server
// function that raised the error, never by text, which servers translate. Cancellation by the caller counts
// as ClassRetry.
func Classify(err error) Class {
	switch {
	case err == nil:
		return ClassNone
	case errors.Is(err, ErrSlotMissing):
		return ClassSlotMissing
	case errors.Is(err, ErrNoHistory):
		return ClassWALRemoved
	case errors.Is(err, ErrUnsupported):
		return ClassBug
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return classifyServer(pgErr)
	}
	return classifyClient(err)
}

func classifyServer(e *pgconn.PgError) Class {
	switch e.Code {
	case pgerrcode.ObjectInUse:
		return ClassSlotActive
	case pgerrcode.UndefinedObject:
		return ClassSlotMissing
	case pgerrcode.UndefinedFile:
		return ClassWALRemoved
	case pgerrcode.InsufficientPrivilege, pgerrcode.InvalidCatalogName:
		return ClassAuth
	case pgerrcode.FeatureNotSupported, pgerrcode.SyntaxError:
		return ClassBug
	case pgerrcode.ObjectNotInPrerequisiteState, pgerrcode.InternalError:
		return classifyRoutine(e.Routine)
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "57":
		return ClassRetry
	case "28":
		return ClassAuth
	case "53":
		return ClassLimits
	}
	return ClassUnknown
}

// classifyRoutine tells apart the errors that share SQLSTATE 55000 or XX000, by the C function that raised
// them.
func classifyRoutine(routine string) Class {
	switch routine {
	case "StartReplication", "tliSwitchPoint":
		return ClassReconcile
	case "CheckXLogRemoved": // 58P01 if a file was missing, XX000 if the segment is there and no longer what it was
		return ClassWALRemoved
	case "ReplicationSlotAcquire":
		return ClassSlotInvalid
	case "CheckSlotRequirements", "CheckLogicalDecodingRequirements":
		return ClassLimits
	case "exec_replication_command", // "WAL sender is in stopping mode": the server is shutting down
		"ReplicationSlotReserveWal": // the WAL was removed while the slot was being created
		return ClassRetry
	}
	return ClassUnknown
}

func classifyClient(err error) Class {
	var (
		netErr    net.Error
		certErr   *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &certErr), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid),
		errors.As(err, &alert):
		return ClassAuth
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, pgconn.ErrConnClosed), pgconn.Timeout(err), errors.As(err, &netErr),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return ClassRetry
	}
	return ClassUnknown
}

// SlotHolder returns the process that holds the slot, if err is of ClassSlotActive and its text tells: the
// last number in it that isn't part of a word, in any language.
func SlotHolder(err error) (pid int, ok bool) {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != pgerrcode.ObjectInUse {
		return 0, false
	}
	for _, field := range strings.FieldsFunc(pgErr.Message, isNotSlotNameOrDigit) {
		if n, err := strconv.ParseUint(field, 10, 31); err == nil {
			pid, ok = int(n), true
		}
	}
	return pid, ok
}

// isNotSlotNameOrDigit splits a message so that the digits of a slot's name stay with the name.
func isNotSlotNameOrDigit(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
}

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// isFatal reports whether the server ends the connection with this error. The severity is the untranslated
// one.
func isFatal(e *pgconn.PgError) bool {
	severity := e.SeverityUnlocalized
	return severity == "FATAL" || severity == "PANIC"
}
