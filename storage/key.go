package storage

import (
	"fmt"
	"strings"
)

// TempFolder is the one first part that no key may have: storage/disk keeps unfinished files there, and
// every store refuses it so that a repository can be moved between stores.
const TempFolder = ".tmp"

// ValidateKey returns an error that wraps ErrInvalid unless key is one that every store takes: parts of
// [A-Za-z0-9._-]+ other than "." and "..", separated by single slashes, MaxKey bytes at most, not below
// TempFolder.
func ValidateKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes (1 to %d are allowed)", ErrInvalid, len(key), MaxKey)
	}
	if !validParts(key) {
		return fmt.Errorf("%w: key %q", ErrInvalid, key)
	}
	return nil
}

// ValidatePrefix is ValidateKey for what a listing begins with: "", or any beginning of a valid key.
func ValidatePrefix(prefix string) error {
	// Whatever the beginning of a key ends with, one more letter makes it a key.
	if len(prefix) > MaxKey || !validParts(prefix+"x") {
		return fmt.Errorf("%w: prefix %q", ErrInvalid, prefix)
	}
	return nil
}

func validParts(key string) bool {
	if key == TempFolder || strings.HasPrefix(key, TempFolder+"/") {
		return false
	}
	for part := range strings.SplitSeq(key, "/") {
		if !validPart(part) {
			return false
		}
	}
	return true
}

func validPart(part string) bool {
	if part == "" || part == "." || part == ".." {
		return false
	}
	for i := range len(part) {
		c := part[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
