// Package storage keeps immutable objects under string keys.
//
// Its invariant: a key is written once. Put of a taken key is ErrExists, whatever the data; an object is
// whole or absent; and "not there" is said only when the store itself said so.
package storage

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Sentinels for decisions. Every other error means unknown: it could not be found out.
var (
	// ErrExists: the key is taken. Whether by the same bytes is for the caller to find out.
	ErrExists = errors.New("object exists")
	// ErrNotFound: the store answered that there is no object under the key.
	ErrNotFound = errors.New("object not found")
)

// MaxKey is the longest key in bytes that every store takes.
const MaxKey = 512

// An Object is what a listing tells of one object.
type Object struct {
	Key      string
	Size     int64     // stored bytes
	Modified time.Time // by the store's clock
}

// A Store holds immutable objects. A nil error from Put means durable and visible to every reader.
// Implementations are safe for concurrent use.
//
// Keys are slash-separated, each part of [A-Za-z0-9._-]+ and not "." or "..", at most MaxKey bytes in all.
type Store interface {
	// Put creates the object. ErrExists if the key is taken. Returns only when nobody reads data any more.
	Put(ctx context.Context, key string, data []byte) error
	// Get appends the object to dst and returns it. The free capacity of dst bounds nothing; an object of
	// more than MaxObject bytes is an error. ErrNotFound only when the store said there is none
	// (HTTP 404; 403 is unknown). On any error the returned slice is dst unchanged in length.
	Get(ctx context.Context, key string, dst []byte) ([]byte, error)
	// List yields the objects whose key begins with prefix and is greater than after ("" = from the
	// beginning), in key order (bytewise). It fetches pages as they are consumed: breaking off early costs
	// at most one page. After an error it ends.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
	// Delete removes objects; missing keys are no error. The error names each key that is still there
	// (a *DeleteError where the store told which).
	Delete(ctx context.Context, keys ...string) error
}

// MaxObject bounds every object: the largest segment (1 GiB) stored incompressibly, with headers.
const MaxObject = 1<<30 + 1<<25

// DeleteError tells which keys could not be deleted, and why.
type DeleteError struct {
	Failed map[string]error
}
