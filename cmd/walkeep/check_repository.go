package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"walkeep/catalog"
	"walkeep/storage"
)

// repositoryTimeout bounds each call to the store.
const repositoryTimeout = 15 * time.Second

// repository tries everything that receive and restore do with the store, on one object of its own, and looks
// for the clusters that are in it.
func (c *checker) repository(ctx context.Context, store storage.Store, systems map[uint64]bool) []checkResult {
	p := &storeProbe{store: store, repo: c.repo, singleWriter: c.singleWriter, key: catalog.ProbeKey(rand.Text())}
	results := []checkResult{p.list(ctx), p.put(ctx)}
	if p.written {
		results = append(results, p.putAgain(ctx), p.get(ctx), p.remove(ctx))
	}
	if results[0].Status != checkFail {
		results = append(results, p.clusters(ctx, systems)...)
	}
	return results
}

// A storeProbe tries a store on one key.
type storeProbe struct {
	store        storage.Store
	repo         string
	singleWriter bool
	key          string
	written      bool
}

var probeData = []byte("walkeep check: this object may be deleted\n")

// list also asks for an object that isn't there: a store that hides what one may not list answers 403, and
// then nothing can ever be proven absent.
func (p *storeProbe) list(ctx context.Context) checkResult {
	ctx, cancel := context.WithTimeout(ctx, repositoryTimeout)
	defer cancel()
	for _, err := range p.store.List(ctx, p.key, "") {
		if err != nil {
			return failed("repository_list", err.Error(), repositoryFix(p.repo, "s3:ListBucket", err))
		}
	}
	if _, err := p.store.Get(ctx, p.key, nil); !errors.Is(err, storage.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("the store returned an object that was never written")
		}
		return failed("repository_list", "a missing object isn't said to be missing, so recovery could never end: "+err.Error(),
			repositoryFix(p.repo, "s3:ListBucket", err))
	}
	return passed("repository_list", "can list, and missing objects are said to be missing")
}

func (p *storeProbe) put(ctx context.Context) checkResult {
	ctx, cancel := context.WithTimeout(ctx, repositoryTimeout)
	defer cancel()
	if err := p.store.Put(ctx, p.key, probeData); err != nil {
		return failed("repository_put", err.Error(), repositoryFix(p.repo, "s3:PutObject", err))
	}
	p.written = true
	return passed("repository_put", "can write")
}

func (p *storeProbe) putAgain(ctx context.Context) checkResult {
	ctx, cancel := context.WithTimeout(ctx, repositoryTimeout)
	defer cancel()
	err := storage.ProbeCreateOnly(ctx, p.store, p.key, probeData)
	switch {
	case err == nil:
		return passed("repository_once", "an object can't be overwritten")
	case !errors.Is(err, storage.ErrNoConditionalWrites):
		return failed("repository_once", err.Error(), repositoryFix(p.repo, "s3:PutObject", err))
	case p.singleWriter:
		return warned("repository_once", "the store has no conditional writes: only you keep two receivers from overwriting each other",
			"run one receiver only, with --single-writer")
	}
	return failed("repository_once", "the store has no conditional writes (If-None-Match: *): two receivers could overwrite each other",
		"use a store that has them, or give receive and check --single-writer and make sure that there is only one receiver")
}

func (p *storeProbe) get(ctx context.Context) checkResult {
	ctx, cancel := context.WithTimeout(ctx, repositoryTimeout)
	defer cancel()
	data, err := p.store.Get(ctx, p.key, nil)
	if err == nil && !bytes.Equal(data, probeData) {
		err = fmt.Errorf("the store returned other bytes than were written")
	}
	if err != nil {
		return failed("repository_get", err.Error(), repositoryFix(p.repo, "s3:GetObject", err))
	}
	return passed("repository_get", "can read")
}

// remove takes the probe away. Archiving works without the permission.
func (p *storeProbe) remove(ctx context.Context) checkResult {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), repositoryTimeout)
	defer cancel()
	if err := p.store.Delete(ctx, p.key); err != nil {
		return warned("repository_delete", fmt.Sprintf("%s; receive and restore work without, expire doesn't, and the small object %s stays", err, p.key),
			repositoryFix(p.repo, "s3:DeleteObject", err)+" (for whoever runs expire)")
	}
	return passed("repository_delete", "can delete (only expire needs it)")
}

// clusters compares what the repository holds with the servers' system identifiers.
func (p *storeProbe) clusters(ctx context.Context, systems map[uint64]bool) []checkResult {
	ctx, cancel := context.WithTimeout(ctx, repositoryTimeout)
	defer cancel()
	held, err := catalog.Clusters(ctx, p.store)
	if err != nil {
		return []checkResult{failed("repository_cluster", err.Error(), "restore or remove the object named, or use another repository")}
	}
	var others []string
	ours := false
	for _, identity := range held {
		id, err := strconv.ParseUint(identity.SystemID, 10, 64)
		if err == nil && systems[id] {
			ours = true
		} else {
			others = append(others, identity.SystemID)
		}
	}
	switch {
	case len(systems) == 0:
		return nil
	case ours:
		return []checkResult{passed("repository_cluster", "holds an archive of this cluster")}
	case len(others) > 0:
		return []checkResult{warned("repository_cluster", "holds only other clusters ("+strings.Join(others, ", ")+"): this one gets a new archive beside them",
			"is --repo the right one? If so, take a base backup once receive runs: walkeep backup")}
	}
	return []checkResult{passed("repository_cluster", "empty; receive begins a new archive")}
}

// repositoryFix says who must permit what. action is the S3 action that the call needs.
func repositoryFix(repo, action string, err error) string {
	u, parseErr := url.Parse(repo)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "does the store answer at all? Check endpoint, proxy and firewall"
	case parseErr != nil || u.Scheme != "s3" && u.Scheme != "file":
		return "write --repo file:///PATH or s3://BUCKET/PREFIX"
	case errors.Is(err, storage.ErrNoBucket) && u.Scheme == "s3":
		return fmt.Sprintf("create the bucket %s, or correct --repo and WALKEEP_S3_REGION", u.Host)
	case u.Scheme == "file":
		return fmt.Sprintf("let the user that runs walkeep read and write %s, on a mounted file system with hard links and free space", u.Path)
	case errors.Is(err, storage.ErrDenied) && action != "":
		return fmt.Sprintf("allow %s on %s to the credentials in use", action, s3Resource(u, action))
	}
	return "check endpoint, region and credentials (WALKEEP_S3_*, AWS_*)"
}

// s3Resource is the resource of a bucket policy for the action.
func s3Resource(u *url.URL, action string) string {
	if action == "s3:ListBucket" {
		return "arn:aws:s3:::" + u.Host
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	return "arn:aws:s3:::" + u.Host + "/" + prefix + "*"
}
