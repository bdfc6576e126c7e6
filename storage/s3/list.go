package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"walkeep/storage"
)

// List asks for a page of up to 1,000 objects whenever the one before is used up. What is in the bucket under
// a name that is no key of ours (a console's folder markers) is passed over.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		err := storage.ValidatePrefix(prefix)
		if err == nil {
			err = s.list(ctx, prefix, after, yield)
		}
		if err != nil {
			yield(storage.Object{}, fmt.Errorf("list %s: %w", prefix, err))
		}
	}
}

func (s *Store) list(ctx context.Context, prefix, after string, yield func(storage.Object, error) bool) error {
	in := &s3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: aws.String(s.fullKey(prefix))}
	if after > prefix {
		in.StartAfter = aws.String(s.fullKey(after))
	}
	last := after
	for {
		page, err := s.page(ctx, in)
		if err != nil {
			return err
		}
		for i := range page.Contents {
			obj := s.object(&page.Contents[i])
			if storage.ValidateKey(obj.Key) != nil || !strings.HasPrefix(obj.Key, prefix) {
				continue
			}
			if obj.Key <= last {
				if last == after {
					continue // a store that doesn't know start-after
				}
				return fmt.Errorf("%w: the store doesn't list in order of keys (%s after %s)", storage.ErrInvalid, obj.Key, last)
			}
			last = obj.Key
			if !yield(obj, nil) {
				return nil
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if aws.ToString(page.NextContinuationToken) == "" {
			return errors.New("the store says there are more objects, but not how to ask for them")
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

func (s *Store) page(ctx context.Context, in *s3.ListObjectsV2Input) (page *s3.ListObjectsV2Output, err error) {
	err = s.call(ctx, func(ctx context.Context, _ *watchdog) (err error) {
		page, err = s.client.ListObjectsV2(ctx, in)
		return err
	})
	return page, err
}

func (s *Store) object(o *types.Object) storage.Object {
	return storage.Object{
		Key:      strings.TrimPrefix(aws.ToString(o.Key), s.fullKey("")),
		Size:     aws.ToInt64(o.Size),
		Modified: aws.ToTime(o.LastModified),
	}
}
