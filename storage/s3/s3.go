// Package s3 keeps objects in a bucket of Amazon S3 or of a store that speaks its protocol. It is the only
// place that knows the AWS SDK.
//
// Its invariant: an object is created by one conditional PutObject; and ErrNotFound is said only when the
// store itself named the key as the thing that is missing.
package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"walkeep/storage"
)

// A Store is a bucket, or what is below a prefix in one. Each call is one attempt (one per page or batch):
// wrap it in storage.Retry.
type Store struct {
	client   *s3.Client
	cfg      Config
	checksum ChecksumMode // never auto
	http     *http.Client
	clock    *clock
	creds    *credentials
}

var _ storage.Overwriter = (*Store)(nil)

// New prepares a store from cfg and asks no server: what is wrong with bucket or credentials shows in the
// first call.
func New(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	loaded, err := cfg.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("configuration of the AWS SDK: %w", err)
	}
	client := loaded.HTTPClient
	if b, ok := client.(*awshttp.BuildableClient); ok {
		client = b.WithTimeout(0).Freeze()
	}
	s := &Store{cfg: cfg, checksum: cfg.Checksum, creds: newCredentials(&cfg, loaded.Credentials)}
	s.http, _ = client.(*http.Client)
	s.clock = &clock{client: client}
	s.client = s3.NewFromConfig(loaded, cfg.options(s.creds, s.clock))
	o := s.client.Options()
	if o.Region == "" {
		return nil, fmt.Errorf("%w: %w", storage.ErrInvalid, errNoRegion)
	}
	if s.checksum == ChecksumAuto {
		s.checksum = ChecksumCRC32C
		if o.BaseEndpoint != nil && isGoogle(*o.BaseEndpoint) {
			s.checksum = ChecksumMD5
		}
	}
	return s, nil
}

// Close closes the connections that no call is using.
func (s *Store) Close() error {
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
	return nil
}

// fullKey is the key in the bucket.
func (s *Store) fullKey(key string) string {
	if s.cfg.Prefix == "" {
		return key
	}
	return s.cfg.Prefix + "/" + key
}

// Put creates the object if the key is free. A store that says it doesn't know the condition (501) is
// storage.ErrNoConditionalWrites.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	err := s.put(ctx, key, data, aws.String("*"))
	if isNotImplemented(err) {
		err = fmt.Errorf("%w: %w", storage.ErrNoConditionalWrites, err)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// Overwrite puts without the condition: only storage.SingleWriter may call it.
func (s *Store) Overwrite(ctx context.Context, key string, data []byte) error {
	if err := s.put(ctx, key, data, nil); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, key string, data []byte, ifNoneMatch *string) error {
	if err := storage.ValidateKey(key); err != nil {
		return err
	}
	if len(data) > storage.MaxObject {
		return fmt.Errorf("%w: object of %d bytes", storage.ErrInvalid, len(data))
	}
	in := &s3.PutObjectInput{
		Bucket:        &s.cfg.Bucket,
		Key:           aws.String(s.fullKey(key)),
		ContentLength: aws.Int64(int64(len(data))),
		IfNoneMatch:   ifNoneMatch,
	}
	switch s.checksum {
	case ChecksumCRC32C:
		sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		in.ChecksumCRC32C = aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)))
	case ChecksumMD5:
		sum := md5.Sum(data)
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
	}
	return s.call(ctx, func(ctx context.Context, dog *watchdog) error {
		body := newBody(data, dog)
		defer body.detach()
		in.Body = body
		_, err := s.client.PutObject(ctx, in)
		return err
	})
}

// Get reads the object; what is shorter than the store announced is an error.
func (s *Store) Get(ctx context.Context, key string, dst []byte) ([]byte, error) {
	got := dst
	err := storage.ValidateKey(key)
	if err == nil {
		err = s.call(ctx, func(ctx context.Context, dog *watchdog) (err error) {
			got, err = s.get(ctx, key, dst, dog)
			return err
		})
	}
	if err != nil {
		return dst, fmt.Errorf("get %s: %w", key, err)
	}
	return got, nil
}

func (s *Store) get(ctx context.Context, key string, dst []byte, dog *watchdog) ([]byte, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.fullKey(key))})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	if out.ContentLength == nil {
		return nil, errors.New("the store didn't say how long the object is")
	}
	size := *out.ContentLength
	if size < 0 || size > storage.MaxObject {
		return nil, fmt.Errorf("%w: object of %d bytes (%d is the most)", storage.ErrInvalid, size, int64(storage.MaxObject))
	}
	n := len(dst)
	dst = slices.Grow(dst, int(size))[:n+int(size)]
	read, err := io.ReadFull(dog.reader(out.Body), dst[n:])
	if err != nil {
		return nil, fmt.Errorf("%d of %d bytes read: %w", read, size, err)
	}
	return dst, nil
}

// maxRenewals bounds how often in a row a call looks for new credentials.
const maxRenewals = 3

// call runs one request under a watchdog and names its error. A request refused for its credentials is sent
// again if there are new ones: those that were cached may have been rotated.
func (s *Store) call(ctx context.Context, do func(context.Context, *watchdog) error) error {
	for renewals := 0; ; renewals++ {
		_, generation := s.creds.get()
		err := s.once(ctx, do)
		if !isBadCredentials(err) || renewals == maxRenewals || !s.renew(ctx, generation) {
			return s.classify(err)
		}
	}
}

func (s *Store) renew(ctx context.Context, refused int) bool {
	ctx, dog := watch(ctx, s.cfg.Timeout)
	defer dog.stop()
	return s.creds.renew(ctx, refused)
}

func (s *Store) once(ctx context.Context, do func(context.Context, *watchdog) error) error {
	ctx, dog := watch(ctx, s.cfg.Timeout)
	defer dog.stop()
	err := do(ctx, dog)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
