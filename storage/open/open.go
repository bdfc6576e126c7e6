// Package open turns the URL of a repository into its store. It stands apart from storage because it knows
// every kind of store.
package open

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"walkeep/storage"
	"walkeep/storage/disk"
	"walkeep/storage/s3"
)

const usage = "write file:///PATH or s3://BUCKET/PREFIX"

// Store opens the repository at repoURL for a command that may write to it: a directory store is created if
// it isn't there. Every call of the store is one attempt: wrap it in storage.Retry. For a bucket nothing is
// asked yet.
//
// repoURL is file:///PATH or s3://BUCKET[/PREFIX]. Of env (os.Getenv) the following are read, or the same in
// lower case without WALKEEP_S3_ from the URL's query, which has precedence:
//
//	WALKEEP_S3_ENDPOINT          https://HOST[:PORT] of a store other than AWS
//	WALKEEP_S3_REGION            default: the SDK's sources; us-east-1 if there is an endpoint
//	WALKEEP_S3_PATH_STYLE        true, false; default: true if there is an endpoint
//	WALKEEP_S3_CHECKSUM          crc32c, md5, none; default: what the store takes
//	WALKEEP_S3_CA_FILE           PEM file of certificates to trust
//	WALKEEP_S3_UNSIGNED_PAYLOAD  true: leave integrity to TLS
//	WALKEEP_S3_TIMEOUT           longest silence of the store, such as 30s
//
// Credentials come from the SDK's own chain. An error that wraps storage.ErrInvalid says what to write.
func Store(ctx context.Context, repoURL string, env func(string) string) (storage.Store, error) {
	return open(ctx, repoURL, env, func(root string) (storage.Store, error) { return disk.Create(root) })
}

// Existing is Store for a command that only reads: a directory that is no store yet, or no longer because
// its file system isn't mounted, is an error that wraps storage.ErrNoBucket. It changes nothing.
func Existing(ctx context.Context, repoURL string, env func(string) string) (storage.Store, error) {
	return open(ctx, repoURL, env, func(root string) (storage.Store, error) { return disk.Open(root) })
}

func open(ctx context.Context, repoURL string, env func(string) string,
	openDisk func(string) (storage.Store, error),
) (storage.Store, error) {
	u, err := url.Parse(repoURL)
	if err != nil {
		return nil, fmt.Errorf("%w: repository %q: %s", storage.ErrInvalid, repoURL, usage)
	}
	var s storage.Store
	switch u.Scheme {
	case "file":
		s, err = openFile(u, openDisk)
	case "s3":
		s, err = openS3(ctx, u, env)
	default:
		err = fmt.Errorf("%w: %s", storage.ErrInvalid, usage)
	}
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", u.Redacted(), err)
	}
	return s, nil
}

func openFile(u *url.URL, openDisk func(string) (storage.Store, error)) (storage.Store, error) {
	if u.Host != "" && u.Host != "localhost" || u.Path == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%w: write file:///PATH, with three slashes and an absolute path", storage.ErrInvalid)
	}
	return openDisk(u.Path)
}

func openS3(ctx context.Context, u *url.URL, env func(string) string) (storage.Store, error) {
	if u.User != nil || u.Port() != "" {
		return nil, fmt.Errorf("%w: credentials and endpoints don't belong before the bucket: write s3://BUCKET/PREFIX, and "+
			"set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, WALKEEP_S3_ENDPOINT", storage.ErrInvalid)
	}
	s, err := readSettings(u.Query(), env)
	if err != nil {
		return nil, err
	}
	cfg := s3.Config{
		Bucket:    u.Host,
		Prefix:    strings.Trim(u.Path, "/"),
		Endpoint:  strings.TrimSuffix(s["endpoint"], "/"),
		Region:    s["region"],
		PathStyle: s3.PathStyle(strings.ToLower(s["path_style"])),
		Checksum:  s3.ChecksumMode(strings.ToLower(s["checksum"])),
		CAFile:    s["ca_file"],
	}
	if cfg.Checksum == "auto" {
		cfg.Checksum = s3.ChecksumAuto
	}
	switch v := strings.ToLower(s["unsigned_payload"]); v {
	case "true":
		cfg.UnsignedPayload = true
	case "", "false":
	default:
		return nil, fmt.Errorf("%w: unsigned payload %q: write true or false", storage.ErrInvalid, v)
	}
	if v := s["timeout"]; v != "" {
		if cfg.Timeout, err = time.ParseDuration(v); err != nil || cfg.Timeout <= 0 {
			return nil, fmt.Errorf("%w: timeout %q: write a duration such as 30s", storage.ErrInvalid, v)
		}
	}
	return s3.New(ctx, cfg)
}

var settingNames = []string{"endpoint", "region", "path_style", "checksum", "ca_file", "unsigned_payload", "timeout"}

// readSettings merges the query over the environment.
func readSettings(query url.Values, env func(string) string) (map[string]string, error) {
	settings := map[string]string{}
	for _, name := range settingNames {
		settings[name] = env("WALKEEP_S3_" + strings.ToUpper(name))
	}
	for name, values := range query {
		if _, known := settings[name]; !known || len(values) != 1 {
			return nil, fmt.Errorf("%w: setting %q in the URL: the settings are %s, each once", storage.ErrInvalid,
				name, strings.Join(settingNames, ", "))
		}
		settings[name] = values[0]
	}
	return settings, nil
}
