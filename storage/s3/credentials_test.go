package s3

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// rotation is a source of credentials as the SDK's chain knows it: a profile with a credential_process, here
// a script that prints a file.
type rotation struct {
	t       *testing.T
	gateway *storagetest.Gateway
	file    string
	user    string
	n       int
}

// newRotation points the SDK's environment at a new rotation.
func newRotation(t *testing.T, g *storagetest.Gateway) *rotation {
	t.Helper()
	dir := t.TempDir()
	r := &rotation{t: t, gateway: g, file: filepath.Join(dir, "credentials.json")}
	config := filepath.Join(dir, "config")
	text := fmt.Sprintf("[default]\ncredential_process = cat %s\n", r.file)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"), "AWS_PROFILE": "",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	return r
}

// next makes a new user, hands its credentials out for validity (0 = without an expiry), and deletes the user
// before.
func (r *rotation) next(validity time.Duration) {
	r.t.Helper()
	r.n++
	old := r.user
	r.user = fmt.Sprintf("user%d", r.n)
	r.admin("create-user", "--access", r.user, "--secret", r.user+"secret", "--role", "admin")
	expiry := ""
	if validity > 0 {
		expiry = fmt.Sprintf(`, "Expiration": %q`, time.Now().Add(validity).UTC().Format(time.RFC3339Nano))
	}
	text := fmt.Sprintf(`{"Version": 1, "AccessKeyId": %q, "SecretAccessKey": %q%s}`, r.user, r.user+"secret", expiry)
	if err := os.WriteFile(r.file+".new", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.file+".new", r.file); err != nil {
		r.t.Fatal(err)
	}
	if old != "" {
		r.admin("delete-user", "--access", old)
	}
}

func (r *rotation) admin(args ...string) {
	r.t.Helper()
	g := r.gateway
	args = append([]string{"admin", "--access", g.Access, "--secret", g.Secret, "--endpoint-url", g.Endpoint}, args...)
	if out, err := exec.Command(storagetest.GatewayBinary(r.t), args...).CombinedOutput(); err != nil {
		r.t.Fatalf("versitygw %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Users come and go under a writer; every single attempt succeeds, also those that begin with the
// credentials of a user who has just been deleted.
func TestS34RotatingCredentials(t *testing.T) {
	iam := t.TempDir()
	g := storagetest.StartGateway(t, "--iam-dir", iam, "--iam-cache-disable")
	for _, validity := range []time.Duration{0, time.Second, time.Hour} {
		r := newRotation(t, g)
		r.n = int(validity.Seconds()) * 100 // other names than before
		r.next(validity)
		s := newStore(t, Config{Bucket: g.Bucket, Endpoint: g.Endpoint, Prefix: validity.String()})
		for i := range 6 {
			for j := range 3 {
				if err := s.Put(t.Context(), fmt.Sprintf("wal/%d/%d", i, j), []byte("wal")); err != nil {
					t.Fatalf("validity %s, rotation %d: %v", validity, i, err)
				}
			}
			r.next(validity)
			if _, err := s.Get(t.Context(), fmt.Sprintf("wal/%d/0", i), nil); err != nil {
				t.Fatalf("validity %s, rotation %d: %v", validity, i, err)
			}
		}
		n := 0
		for _, err := range s.List(t.Context(), "wal/", "") {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 18 {
			t.Errorf("%d objects, want 18", n)
		}
	}
}

// Credentials the store doesn't know are asked for once more, not for ever, and then named for what they are.
func TestWrongCredentials(t *testing.T) {
	g := storagetest.StartGateway(t)
	cfg := gatewayConfig(g)
	cfg.Credentials = static(g.Access, "wrong")
	err := newStore(t, cfg).Put(t.Context(), "a", nil)
	if !storage.IsPermanent(err) || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("wrong secret: %v", err)
	}
	cfg = gatewayConfig(g)
	cfg.Bucket = "none"
	_, err = newStore(t, cfg).Get(t.Context(), "a", nil)
	if !storage.IsPermanent(err) || !strings.Contains(err.Error(), `no bucket "none"`) {
		t.Errorf("unknown bucket: %v", err)
	}
}

func TestNoCredentials(t *testing.T) {
	newRotation(t, nil)
	if err := os.WriteFile(os.Getenv("AWS_CONFIG_FILE"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s := newStore(t, Config{Bucket: "b", Endpoint: "http://127.0.0.1:1"})
	err := s.Put(t.Context(), "a", nil)
	if err == nil || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("Put: %v", err)
	}
	if took := time.Since(start); took > soon {
		t.Errorf("took %s", took)
	}
}
