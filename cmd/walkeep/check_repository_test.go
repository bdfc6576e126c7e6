package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func TestS52StoreWithoutPermissions(t *testing.T) {
	s := postgres.Start(t, postgres.Options{Fsync: true})
	denied := func(op string) storage.Store {
		f := storagetest.NewFaulty(storagetest.NewMemory())
		f.Fail(storagetest.Fault{Op: op, Times: -1, Err: fmt.Errorf("%w: 403", storage.ErrDenied)})
		return f
	}
	for _, test := range []struct {
		op, item, fix string
		status        checkStatus
	}{
		{storage.OpPut, "repository_put", "allow s3:PutObject on arn:aws:s3:::backup/prod/*", checkFail},
		{storage.OpList, "repository_list", "allow s3:ListBucket on arn:aws:s3:::backup to", checkFail},
		{storage.OpDelete, "repository_delete", "allow s3:DeleteObject on arn:aws:s3:::backup/prod/*", checkWarn},
	} {
		r := checkBoth(t, s.DSN(), denied(test.op))
		if got := wantStatus(t, r, test.item, test.status); !strings.Contains(got.Fix, test.fix) {
			t.Errorf("%s: %+v, want fix %q", test.op, got, test.fix)
		}
		if r.OK != (test.status != checkFail) {
			t.Errorf("%s: OK = %v", test.op, r.OK)
		}
	}
	// A store that answers 403 for what isn't there, for want of s3:ListBucket.
	if got := wantStatus(t, checkBoth(t, s.DSN(), denied(storage.OpGet)), "repository_list", checkFail); !strings.Contains(got.Fix, "s3:ListBucket") {
		t.Errorf("get: %+v", got)
	}
}

// forgetful is a store that ignores If-None-Match.
type forgetful struct{ *storagetest.Memory }

func (f forgetful) Put(ctx context.Context, key string, data []byte) error {
	return f.Overwrite(ctx, key, data)
}

func TestS61StoreWithoutConditionalWrites(t *testing.T) {
	ctx := checkContext(t)
	c := &checker{repo: "s3://backup", sample: time.Millisecond}
	find := func() checkResult {
		memory := storagetest.NewMemory()
		r := newCheckReport(c.repository(ctx, forgetful{memory}, map[uint64]bool{1: true}))
		if keys := memory.Keys(); len(keys) != 0 {
			t.Errorf("left behind: %v", keys)
		}
		return line(t, r, "repository_once")
	}
	if got := find(); got.Status != checkFail || !strings.Contains(got.Fix, "--single-writer") {
		t.Errorf("%+v", got)
	}
	c.singleWriter = true
	if got := find(); got.Status != checkWarn {
		t.Errorf("with --single-writer: %+v", got)
	}
}

func TestS52BucketWithoutPermissions(t *testing.T) {
	s := postgres.Start(t, postgres.Options{})
	gateway := storagetest.StartGateway(t, "--iam-dir", filepath.Join(t.TempDir(), "."))
	out, err := exec.Command(storagetest.GatewayBinary(t), "admin", "--access", gateway.Access, "--secret", gateway.Secret,
		"--endpoint-url", gateway.Endpoint, "create-user", "--access", "reader", "--secret", "readersecret", "--role", "user").CombinedOutput()
	if err != nil {
		t.Fatalf("create user: %v: %s", err, out)
	}
	t.Setenv("WALKEEP_S3_ENDPOINT", gateway.Endpoint)
	t.Setenv("AWS_REGION", "us-east-1")
	credentials := func(access, secret string) {
		t.Setenv("AWS_ACCESS_KEY_ID", access)
		t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	}
	check := func() (string, error) {
		return runCheckCommand(t, "--repo", "s3://"+gateway.Bucket+"/prod", "--primary", s.DSN())
	}
	credentials("reader", "readersecret")
	text, err := check()
	if !errors.Is(err, errReported) {
		t.Errorf("error = %v", err)
	}
	for _, want := range []string{
		"allow s3:ListBucket on arn:aws:s3:::walkeep to", "allow s3:PutObject on arn:aws:s3:::walkeep/prod/* to",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line says %q:\n%s", want, text)
		}
	}
	credentials(gateway.Access, gateway.Secret)
	if text, err = check(); err != nil || strings.Contains(text, "FAIL") {
		t.Errorf("with all permissions: %v\n%s", err, text)
	}
	if !strings.Contains(text, "repository_once     an object can't be overwritten") {
		t.Errorf("conditional writes:\n%s", text)
	}
	text, err = runCheckCommand(t, "--repo", "s3://nowhere/prod", "--primary", s.DSN())
	if !errors.Is(err, errReported) || !strings.Contains(text, "create the bucket nowhere") {
		t.Errorf("bucket that is not there: %v\n%s", err, text)
	}
}
