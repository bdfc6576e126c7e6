package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"walkeep/storage"
)

// hangingCredentials don't answer until they are closed, whatever their context says.
type hangingCredentials chan struct{}

func (h hangingCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	<-h
	return aws.Credentials{}, errors.New("too late")
}

// What an answer to Get means. Only one says that the object isn't there.
func TestClassify(t *testing.T) {
	sentinels := []error{storage.ErrNotFound, storage.ErrDenied, storage.ErrNoBucket, storage.ErrExists}
	for _, test := range []struct {
		status int
		code   string
		want   error // nil = none of the sentinels: unknown
	}{
		{404, "NoSuchKey", storage.ErrNotFound},
		{404, "NoSuchBucket", storage.ErrNoBucket},
		{404, "", nil},
		{404, "NotFound", nil},
		{404, "NoSuchUpload", nil},
		{403, "AccessDenied", storage.ErrDenied},
		{403, "", storage.ErrDenied},
		{401, "Unauthorized", storage.ErrDenied},
		{403, "InvalidAccessKeyId", storage.ErrDenied},
		{400, "ExpiredToken", storage.ErrDenied},
		{301, "PermanentRedirect", storage.ErrNoBucket},
		{400, "AuthorizationHeaderMalformed", storage.ErrNoBucket},
		{500, "InternalError", nil},
		{503, "SlowDown", nil},
		{408, "RequestTimeout", nil},
		{429, "TooManyRequests", nil},
		{409, "OperationAborted", nil},
		{412, "PreconditionFailed", storage.ErrExists},
	} {
		f := newFake(t)
		f.answer = failWith(http.MethodGet, test.status, test.code)
		_, err := newStore(t, f.config()).Get(t.Context(), "a", nil)
		if err == nil {
			t.Errorf("%d %s: no error", test.status, test.code)
		}
		for _, sentinel := range sentinels {
			if errors.Is(err, sentinel) != (sentinel == test.want) {
				t.Errorf("%d %s: %v; want %v", test.status, test.code, err, test.want)
			}
		}
	}
}

func TestHTMLNotFoundIsUnknown(t *testing.T) {
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<html><body><h1>404 Not Found</h1>nginx</body></html>")
		return true
	}
	_, err := newStore(t, f.config()).Get(t.Context(), "a", nil)
	if err == nil || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a proxy's 404: %v", err)
	}
}

func TestShortBody(t *testing.T) {
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request, n int) bool {
		switch n {
		case 0:
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
			reset(w)
		case 1:
			w.(http.Flusher).Flush() // chunked: no length
			_, _ = io.WriteString(w, "no length")
		case 2:
			w.Header().Set("Content-Length", fmt.Sprint(storage.MaxObject+1))
		}
		return true
	}
	s := newStore(t, f.config())
	for range 3 {
		if got, err := s.Get(t.Context(), "a", []byte("dst")); err == nil || string(got) != "dst" {
			t.Errorf("Get: %q, %v", got, err)
		}
	}
}

func TestListAnswers(t *testing.T) {
	page := func(truncated bool, token string, keys ...string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "<ListBucketResult><IsTruncated>%t</IsTruncated>", truncated)
		if token != "" {
			fmt.Fprintf(&b, "<NextContinuationToken>%s</NextContinuationToken>", token)
		}
		for _, key := range keys {
			fmt.Fprintf(&b, "<Contents><Key>%s</Key><Size>1</Size></Contents>", key)
		}
		return b.String() + "</ListBucketResult>"
	}
	for _, test := range []struct {
		name, body string
		want       []string
		wantError  string
	}{
		{"folder markers", page(false, "", "p/", "p/a/", "p/a/1"), []string{"a/1"}, ""},
		{"no start-after", page(false, "", "p/a/0", "p/a/00", "p/a/1"), []string{"a/1"}, ""},
		{"out of order", page(false, "", "p/a/2", "p/a/1"), []string{"a/2"}, "order"},
		{"no token", page(true, "", "p/a/1"), []string{"a/1"}, "how to ask"},
	} {
		f := newFake(t)
		f.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			_, _ = io.WriteString(w, test.body)
			return true
		}
		cfg := f.config()
		cfg.Prefix = "p"
		var got []string
		var last error
		for o, err := range newStore(t, cfg).List(t.Context(), "a/", "a/00") {
			if last = err; err == nil {
				got = append(got, o.Key)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", test.name, diff)
		}
		if (last == nil) != (test.wantError == "") || last != nil && !strings.Contains(last.Error(), test.wantError) {
			t.Errorf("%s: %v", test.name, last)
		}
		if q := f.last().URL.Query(); q.Get("start-after") != "p/a/00" || q.Get("prefix") != "p/a/" {
			t.Errorf("%s: query %v", test.name, q)
		}
	}
}

func TestDeleteWithoutBatches(t *testing.T) {
	f := newFake(t)
	f.answer = failWith(http.MethodPost, http.StatusNotImplemented, "NotImplemented")
	s := newStore(t, f.config())
	for _, key := range []string{"a", "b"} {
		if err := s.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), "a", "b", "c"); err != nil {
		t.Error(err)
	}
	if len(f.objects) > 0 {
		t.Errorf("left: %v", f.objects)
	}
}

// capture is a client that answers every request with 200 and keeps its URL and headers.
type capture struct {
	url    *url.URL
	header http.Header
}

func (c *capture) Do(r *http.Request) (*http.Response, error) {
	c.url, c.header = r.URL, r.Header
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// What goes over the wire, by configuration.
func TestRequests(t *testing.T) {
	const crc, md5 = "mnG7TA==", "XUFAKrxLKna5cZ2REBfFkg=="
	for _, test := range []struct {
		name string
		cfg  Config
		url  string
		want map[string]string
	}{
		{
			"AWS",
			Config{Region: "eu-central-1"},
			"https://bucket.s3.eu-central-1.amazonaws.com/p/a?x-id=PutObject",
			map[string]string{"X-Amz-Checksum-Crc32c": crc, "Content-Md5": "", "If-None-Match": "*"},
		},
		{
			"endpoint",
			Config{Endpoint: "https://s3.example.com:9000"},
			"https://s3.example.com:9000/bucket/p/a?x-id=PutObject",
			map[string]string{"X-Amz-Checksum-Crc32c": crc},
		},
		{
			"host style",
			Config{Endpoint: "https://s3.example.com", PathStyle: PathStyleOff},
			"https://bucket.s3.example.com/p/a?x-id=PutObject", nil,
		},
		{
			"no checksum, unsigned",
			Config{Endpoint: "https://s3.example.com", Checksum: ChecksumNone, UnsignedPayload: true},
			"https://s3.example.com/bucket/p/a?x-id=PutObject",
			map[string]string{"X-Amz-Checksum-Crc32c": "", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD", "X-Amz-Checksum-Crc32": ""},
		},
		{
			"Google",
			Config{Endpoint: "https://storage.googleapis.com"},
			"https://storage.googleapis.com/bucket/p/a?x-id=PutObject",
			map[string]string{"Content-Md5": md5, "X-Amz-Checksum-Crc32c": "", "Accept-Encoding": ""},
		},
	} {
		test.cfg.Bucket, test.cfg.Prefix, test.cfg.Credentials = "bucket", "p", static("a", "b")
		s := newStore(t, test.cfg)
		c := &capture{}
		s.clock.client = c
		if err := s.Put(t.Context(), "a", []byte("hello")); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if c.url.String() != test.url {
			t.Errorf("%s: URL %s, want %s", test.name, c.url, test.url)
		}
		for name, want := range test.want {
			if got := c.header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", test.name, name, got, want)
			}
		}
		signed := strings.Contains(c.header.Get("Authorization"), "accept-encoding")
		if signed != (test.name != "Google") {
			t.Errorf("%s: Accept-Encoding signed: %t", test.name, signed)
		}
	}
}

func TestBadConfig(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", "/none")
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "s3://BUCKET"},
		{Config{Bucket: "b"}, "WALKEEP_S3_REGION"},
		{Config{Bucket: "b", Prefix: "a b"}, "prefix"},
		{Config{Bucket: "b", Endpoint: "s3.example.com"}, "https://HOST"},
		{Config{Bucket: "b", Endpoint: "ftp://s3.example.com"}, "https://HOST"},
		{Config{Bucket: "b", Endpoint: "http://h", UnsignedPayload: true}, "https"},
		{Config{Bucket: "b", Endpoint: "http://h", Checksum: "sha1"}, "crc32c"},
		{Config{Bucket: "b", Endpoint: "http://h", PathStyle: "yes"}, "true, false"},
		{Config{Bucket: "b", Endpoint: "http://h", CAFile: "config.go"}, "no PEM"},
	} {
		_, err := New(t.Context(), test.cfg)
		if !errors.Is(err, storage.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.cfg, err, test.want)
		}
	}
}
