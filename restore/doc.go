// Package restore brings back what the repository keeps.
//
// Its invariant: "not there" is an answer, "could not look" is not. A file is found, proven absent, or unknown, and only a
// proof of absence lets PostgreSQL end recovery.
package restore
