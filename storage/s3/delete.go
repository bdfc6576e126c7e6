package s3

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"walkeep/storage"
)

// maxDelete is how many keys one DeleteObjects takes.
const maxDelete = 1000

// Delete removes objects in batches, or one by one from a store that knows no batches. In a bucket with
// versioning it hides them behind a delete marker.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	failed := map[string]error{}
	var valid []string
	for _, key := range keys {
		if err := storage.ValidateKey(key); err != nil {
			failed[key] = err
			continue
		}
		valid = append(valid, key)
	}
	for len(valid) > 0 {
		batch := valid[:min(maxDelete, len(valid))]
		err := s.deleteBatch(ctx, batch, failed)
		if err != nil && !isNotImplemented(err) && status(err) != http.StatusMethodNotAllowed {
			// Not worth trying the others: this concerns them all.
			for _, key := range valid {
				failed[key] = err
			}
			break
		}
		if err != nil {
			s.deleteEach(ctx, batch, failed)
		}
		valid = valid[len(batch):]
	}
	if len(failed) > 0 {
		return &storage.DeleteError{Failed: failed}
	}
	return nil
}

func (s *Store) deleteBatch(ctx context.Context, keys []string, failed map[string]error) error {
	if len(keys) == 1 {
		return s.deleteOne(ctx, keys[0])
	}
	in := &s3.DeleteObjectsInput{Bucket: &s.cfg.Bucket, Delete: &types.Delete{Quiet: aws.Bool(true)}}
	for _, key := range keys {
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: aws.String(s.fullKey(key))})
	}
	var out *s3.DeleteObjectsOutput
	err := s.call(ctx, func(ctx context.Context, _ *watchdog) (err error) {
		out, err = s.client.DeleteObjects(ctx, in, withMD5)
		return err
	})
	if err != nil {
		return err
	}
	for i := range out.Errors {
		e := &out.Errors[i]
		if err := keyError(e); err != nil {
			failed[strings.TrimPrefix(aws.ToString(e.Key), s.fullKey(""))] = err
		}
	}
	return nil
}

// withMD5 adds the Content-MD5 that many stores still demand for this request, beside the SDK's CRC32.
func withMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, smithyhttp.AddContentChecksumMiddleware)
}

func (s *Store) deleteEach(ctx context.Context, keys []string, failed map[string]error) {
	for _, key := range keys {
		if err := s.deleteOne(ctx, key); err != nil {
			failed[key] = err
		}
	}
}

func (s *Store) deleteOne(ctx context.Context, key string) error {
	err := s.call(ctx, func(ctx context.Context, _ *watchdog) error {
		_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.fullKey(key))})
		return err
	})
	if code(err) == "NoSuchKey" {
		return nil
	}
	return err
}

// keyError is what the store says about one key of a batch; nil if only that it is gone.
func keyError(e *types.Error) error {
	code, message := aws.ToString(e.Code), aws.ToString(e.Message)
	switch code {
	case "NoSuchKey":
		return nil
	case "AccessDenied", "ObjectLocked", "InvalidObjectState":
		return fmt.Errorf("%w: %s: %s", storage.ErrDenied, code, message)
	}
	return fmt.Errorf("%s: %s", code, message)
}
