package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"walkeep/segment"
	"walkeep/storage"
)

// Identity says which cluster a part of the repository belongs to. It is written once.
type Identity struct {
	Format      int          `json:"format"` // 1
	SystemID    string       `json:"system_id"`
	SegmentSize segment.Size `json:"wal_segment_size"` // bytes
	Created     time.Time    `json:"created"`          // informational
}

const identityFormat = 1

// check refuses an identity that can't be the one under key.
func (i Identity) check(key Key) error {
	id, err := strconv.ParseUint(i.SystemID, 10, 64)
	if err != nil || identityKey(id) != key {
		return fmt.Errorf("%s names system identifier %q", key, i.SystemID)
	}
	if i.Format != identityFormat {
		return fmt.Errorf("%s has format %d, this version of walkeep reads %d: use a newer walkeep", key, i.Format, identityFormat)
	}
	if _, err := segment.NewSize(uint64(i.SegmentSize)); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// Catalog answers questions about one cluster's part of a repository. It is safe for concurrent use and
// keeps no state that could be out of date.
type Catalog struct {
	store    storage.Store
	keys     keys
	systemID uint64
	size     segment.Size
}

// SystemID is the cluster's system identifier.
func (c *Catalog) SystemID() uint64 { return c.systemID }

// SegmentSize is the cluster's wal_segment_size.
func (c *Catalog) SegmentSize() segment.Size { return c.size }

// Store is where the repository's objects are.
func (c *Catalog) Store() storage.Store { return c.store }

// ErrNoCluster: the repository holds nothing of this cluster.
var ErrNoCluster = errors.New("the repository holds no such cluster")

// SegmentSizeError: the cluster has another wal_segment_size than its archive (pg_resetwal can do that).
type SegmentSizeError struct {
	Archive, Server segment.Size
}

func (e *SegmentSizeError) Error() string {
	return fmt.Sprintf("the server's wal_segment_size is %d MB, its archive's %d MB: "+
		"after pg_resetwal --wal-segsize begin a new repository and take a new base backup", e.Server>>20, e.Archive>>20)
}

// Create opens the catalog of a cluster that is connected, and writes its identity if the repository has none.
// It puts the identity also when it is there: the store has to refuse that with ErrExists, which proves that it
// has conditional writes. created is true if nothing had been there.
//
// Errors: storage.ErrNoConditionalWrites; *SegmentSizeError.
func Create(ctx context.Context, store storage.Store, systemID uint64, size segment.Size, now time.Time) (c *Catalog, created bool, err error) {
	key := identityKey(systemID)
	data, err := json.Marshal(Identity{
		Format: identityFormat, SystemID: strconv.FormatUint(systemID, 10),
		SegmentSize: size, Created: now.UTC().Truncate(time.Second),
	})
	if err != nil {
		return nil, false, err
	}
	switch err := store.Put(ctx, key, data); {
	case err == nil:
		created = true
		if err := storage.ProbeCreateOnly(ctx, store, key, data); err != nil {
			return nil, false, err
		}
	case !errors.Is(err, storage.ErrExists):
		return nil, false, err
	}
	c, err = Open(ctx, store, systemID)
	if err != nil {
		return nil, false, err
	}
	if c.size != size {
		return nil, false, &SegmentSizeError{Archive: c.size, Server: size}
	}
	return c, created, nil
}

// Open opens the catalog of a cluster that the repository holds. ErrNoCluster if it does not.
func Open(ctx context.Context, store storage.Store, systemID uint64) (*Catalog, error) {
	key := identityKey(systemID)
	id, err := readIdentity(ctx, store, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("system identifier %d: %w", systemID, ErrNoCluster)
	}
	if err != nil {
		return nil, err
	}
	return OpenIdentity(store, id)
}

// OpenIdentity opens the catalog of a cluster whose identity was read with Clusters.
func OpenIdentity(store storage.Store, id Identity) (*Catalog, error) {
	n, err := strconv.ParseUint(id.SystemID, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("system identifier %q is not a number", id.SystemID)
	}
	return &Catalog{store: store, keys: keys{n}, systemID: n, size: id.SegmentSize}, nil
}

// Clusters lists the identities of all clusters in the repository, in key order.
func Clusters(ctx context.Context, store storage.Store) ([]Identity, error) {
	var all []Identity
	for object, err := range store.List(ctx, clusterPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list clusters: %w", err)
		}
		id, err := readIdentity(ctx, store, object.Key)
		if err != nil {
			return nil, err
		}
		all = append(all, id)
	}
	return all, nil
}

// OpenOnly opens the catalog of the only cluster in the repository. An error that lists them where there are
// several, ErrNoCluster where there is none.
func OpenOnly(ctx context.Context, store storage.Store) (*Catalog, error) {
	all, err := Clusters(ctx, store)
	if err != nil {
		return nil, err
	}
	switch len(all) {
	case 0:
		return nil, ErrNoCluster
	case 1:
		return OpenIdentity(store, all[0])
	}
	list := ""
	for _, id := range all {
		list += " " + id.SystemID
	}
	return nil, fmt.Errorf("the repository holds several clusters:%s: choose one with --system-id", list)
}

func readIdentity(ctx context.Context, store storage.Store, key Key) (Identity, error) {
	data, err := store.Get(ctx, key, nil)
	if err != nil {
		return Identity{}, fmt.Errorf("get %s: %w", key, err)
	}
	var id Identity
	if err := json.Unmarshal(data, &id); err != nil {
		return Identity{}, fmt.Errorf("%s: %w", key, err)
	}
	return id, id.check(key)
}
