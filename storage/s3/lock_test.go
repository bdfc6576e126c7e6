package s3

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

// A bucket with Object Lock takes what we put, create-only as ever; a deletion hides the object, which the
// bucket keeps until the time that RetainedUntil tells.
func TestS35ObjectLock(t *testing.T) {
	g := storagetest.StartGateway(t)
	cfg := gatewayConfig(g)
	cfg.Bucket = "locked"
	s := newStore(t, cfg)
	_, err := s.client.CreateBucket(t.Context(), &awss3.CreateBucketInput{
		Bucket: &cfg.Bucket, ObjectLockEnabledForBucket: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.client.PutObjectLockConfiguration(t.Context(), &awss3.PutObjectLockConfigurationInput{
		Bucket: &cfg.Bucket,
		ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{
				Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(1),
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		if err := s.Put(t.Context(), key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), "a", []byte("y")); !errors.Is(err, storage.ErrExists) {
		t.Errorf("Put again: %v", err)
	}
	// Unlike AWS, this server applies the default without stamping it on each object.
	want := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	_, err = s.client.PutObjectRetention(t.Context(), &awss3.PutObjectRetentionInput{
		Bucket: &cfg.Bucket, Key: aws.String("a"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: &want},
	})
	if err != nil {
		t.Fatal(err)
	}
	if until, err := s.RetainedUntil(t.Context(), "a"); err != nil || !until.Equal(want) {
		t.Errorf("RetainedUntil: %s, %v; want %s", until, err, want)
	}
	if err := s.Delete(t.Context(), "a", "b"); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if _, err := s.Get(t.Context(), "a", nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
}

func TestRetainedUntilWithoutLock(t *testing.T) {
	s := newStore(t, newFake(t).config())
	if _, err := s.RetainedUntil(t.Context(), "a"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if err := s.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	if until, err := s.RetainedUntil(t.Context(), "a"); err != nil || !until.IsZero() {
		t.Errorf("unlocked: %s, %v", until, err)
	}
}
