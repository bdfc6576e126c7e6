package main

import (
	"testing"
)

func TestBranchURL(t *testing.T) {
	cmd := newReceiveCommand(newEnvironment())
	for _, c := range []struct{ repo, name, want string }{
		{"s3://b/p", "", "s3://b/p"},
		{"s3://b/p", "old-primary", "s3://b/p/branch/old-primary"},
		{"s3://b/p?endpoint=http://x", "a", "s3://b/p/branch/a?endpoint=http://x"},
		{"file:///srv/wal/", "a", "file:///srv/wal/branch/a"},
	} {
		if got, err := branchURL(cmd, c.repo, c.name); err != nil || got != c.want {
			t.Errorf("branch %q of %s: %s, %v, want %s", c.name, c.repo, got, err, c.want)
		}
	}
	for _, name := range []string{"..", "A", "a/b", "a b", "."} {
		if got, err := branchURL(cmd, "s3://b/p", name); err == nil {
			t.Errorf("branch %q gave %s, want an error", name, got)
		}
	}
}
