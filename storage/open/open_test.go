package open

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestFile(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a dir", "repo")
	url := "file://" + strings.ReplaceAll(root, " ", "%20")
	if _, err := Existing(t.Context(), url, env(nil)); !errors.Is(err, storage.ErrNoBucket) {
		t.Errorf("Existing before it exists: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(root)); err == nil {
		t.Error("Existing has created a directory")
	}
	s, err := Store(t.Context(), url, env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	s, err = Existing(t.Context(), url, env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "a", nil); err != nil || string(got) != "x" {
		t.Errorf("Get: %q, %v", got, err)
	}
}

func TestS3(t *testing.T) {
	g := storagetest.StartGateway(t)
	t.Setenv("AWS_ACCESS_KEY_ID", g.Access)
	t.Setenv("AWS_SECRET_ACCESS_KEY", g.Secret)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	for _, test := range []struct {
		url  string
		vars map[string]string
	}{
		{"s3://walkeep/some/prefix", map[string]string{"WALKEEP_S3_ENDPOINT": g.Endpoint}},
		{"s3://walkeep/some/prefix/?endpoint=" + g.Endpoint, map[string]string{"WALKEEP_S3_ENDPOINT": "http://127.0.0.1:1"}},
		{"s3://walkeep/some/prefix", map[string]string{
			"WALKEEP_S3_ENDPOINT": g.Endpoint + "/", "WALKEEP_S3_REGION": "us-east-1", "WALKEEP_S3_PATH_STYLE": "true",
			"WALKEEP_S3_CHECKSUM": "md5", "WALKEEP_S3_UNSIGNED_PAYLOAD": "false", "WALKEEP_S3_TIMEOUT": "10s",
		}},
	} {
		s, err := Store(t.Context(), test.url, env(test.vars))
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		err = s.Put(t.Context(), "a", []byte("x"))
		if err != nil && !errors.Is(err, storage.ErrExists) {
			t.Errorf("%s: %v", test.url, err)
		}
		if c, ok := s.(interface{ Close() error }); ok {
			c.Close()
		}
	}
	if _, err := os.Stat(filepath.Join(g.Dir, "buckets", g.Bucket, "some/prefix/a")); err != nil {
		t.Errorf("not where it belongs: %v", err)
	}
}

func TestBadURLs(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	for _, test := range []struct {
		url  string
		vars map[string]string
		want string
	}{
		{"", nil, "file:///PATH"},
		{"/var/lib/walkeep", nil, "file:///PATH"},
		{"gs://bucket", nil, "s3://BUCKET/PREFIX"},
		{"file://relative/path", nil, "three slashes"},
		{"file:relative", nil, "three slashes"},
		{"file:///path?x=y", nil, "three slashes"},
		{"s3://", nil, "s3://BUCKET"},
		{"s3://bucket", nil, "WALKEEP_S3_REGION"},
		{"s3://bucket/a//b?region=r", nil, "prefix"},
		{"s3://key:secret@bucket/p", nil, "AWS_ACCESS_KEY_ID"},
		{"s3://localhost:9000/bucket", nil, "WALKEEP_S3_ENDPOINT"},
		{"s3://bucket?endpont=http://h", nil, "path_style"},
		{"s3://bucket?region=a&region=b", nil, "once"},
		{"s3://bucket?endpoint=h:9000", nil, "https://HOST"},
		{"s3://bucket?region=r&checksum=sha1", nil, "crc32c"},
		{"s3://bucket?region=r&path_style=on", nil, "true, false"},
		{"s3://bucket?region=r&unsigned_payload=yes", nil, "true or false"},
		{"s3://bucket?region=r&timeout=30", nil, "30s"},
		{"s3://bucket?region=r", map[string]string{"WALKEEP_S3_CA_FILE": "open.go"}, "PEM"},
	} {
		_, err := Store(t.Context(), test.url, env(test.vars))
		if !errors.Is(err, storage.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v; want %q", test.url, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("%q: the error shows the secret: %v", test.url, err)
		}
	}
}
