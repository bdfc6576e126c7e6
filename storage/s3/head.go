package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"walkeep/storage"
)

// Exists asks with HEAD. A bucket that is missing can't be told from a missing object by it: then the Put
// that follows fails.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	_, err := s.head(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// RetainedUntil is when Object Lock lets go of the object, the zero time if it isn't locked or the
// credentials may not know (s3:GetObjectRetention). Delete of a locked object succeeds, and hides it; the
// bucket goes on keeping it, and charging for it, until then.
func (s *Store) RetainedUntil(ctx context.Context, key string) (time.Time, error) {
	out, err := s.head(ctx, key)
	if err != nil {
		return time.Time{}, err
	}
	return aws.ToTime(out.ObjectLockRetainUntilDate), nil
}

func (s *Store) head(ctx context.Context, key string) (out *s3.HeadObjectOutput, err error) {
	if err := storage.ValidateKey(key); err != nil {
		return nil, err
	}
	err = s.call(ctx, func(ctx context.Context, _ *watchdog) (err error) {
		out, err = s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.fullKey(key))})
		return err
	})
	switch {
	case status(err) == http.StatusNotFound:
		return nil, fmt.Errorf("head %s: %w: %w", key, storage.ErrNotFound, err)
	case err != nil:
		return nil, fmt.Errorf("head %s: %w", key, err)
	}
	return out, nil
}
