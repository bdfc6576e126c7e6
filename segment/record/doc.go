// Package record walks the write-ahead log of PostgreSQL 13 to 18: its pages and its records, in order, with
// the checksum of each record.
//
// Its invariant: a byte the Reader has passed without an error is either covered by a page header or record
// that was verified, or zero where PostgreSQL writes zeros, or counted as unchecked; at most seven bytes of
// alignment behind a record are passed over. The package does no I/O and keeps no WAL: of an unfinished
// record only the header and the running CRC, however long it is.
package record
