package storage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Sentinels that tell apart what waiting can heal and what only a person can.
var (
	// ErrDenied: the store refused the caller (HTTP 401 or 403, EACCES). It says nothing about the object.
	ErrDenied = errors.New("access denied")
	// ErrNoBucket: the bucket is not there, or not in this region; for a directory store, its root is missing
	// (not mounted). It says nothing about the object.
	ErrNoBucket = errors.New("no such repository")
	// ErrInvalid: this store can't do what was asked, however often it is asked: a malformed key, an object
	// beyond MaxObject, a file system without hard links.
	ErrInvalid = errors.New("invalid request")
	// ErrNoConditionalWrites: the store does not honour "create only". Two receivers, or one that was
	// restarted, could overwrite each other's WAL without noticing.
	ErrNoConditionalWrites = errors.New("the store has no conditional writes (If-None-Match: *)")
)

// IsPermanent reports whether only a change made by a person (credentials, permissions, the bucket, the
// configuration) can make the call succeed.
func IsPermanent(err error) bool {
	return errors.Is(err, ErrDenied) || errors.Is(err, ErrNoBucket) ||
		errors.Is(err, ErrInvalid) || errors.Is(err, ErrNoConditionalWrites)
}

// Error names up to three keys, in order, and how many more there are.
func (e *DeleteError) Error() string {
	const shown = 3
	keys := slices.Sorted(maps.Keys(e.Failed))
	var b strings.Builder
	fmt.Fprintf(&b, "%d objects not deleted", len(keys))
	for i, key := range keys[:min(shown, len(keys))] {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s: %v", sep, key, e.Failed[key])
	}
	if n := len(keys) - shown; n > 0 {
		fmt.Fprintf(&b, "; and %d more", n)
	}
	return b.String()
}

// Unwrap returns the reasons, so that errors.Is finds a sentinel that is among them.
func (e *DeleteError) Unwrap() []error {
	return slices.Collect(maps.Values(e.Failed))
}
