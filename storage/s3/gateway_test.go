package s3

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"

	"walkeep/storage"
	"walkeep/storage/storagetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// static are credentials that never change.
func static(access, secret string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: access, SecretAccessKey: secret}, nil
	})
}

func newStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func gatewayConfig(g *storagetest.Gateway) Config {
	return Config{Bucket: g.Bucket, Endpoint: g.Endpoint, Credentials: static(g.Access, g.Secret)}
}

func TestConformance(t *testing.T) {
	g := storagetest.StartGateway(t)
	storagetest.Run(t, func(t *testing.T) storage.Store {
		cfg := gatewayConfig(g)
		cfg.Prefix = strings.ReplaceAll(t.Name(), "/", ".")
		return newStore(t, cfg)
	})
}

// Every checksum, without a prefix, and the deletion of a batch.
func TestChecksumModes(t *testing.T) {
	g := storagetest.StartGateway(t)
	for _, mode := range []ChecksumMode{ChecksumAuto, ChecksumCRC32C, ChecksumMD5, ChecksumNone} {
		cfg := gatewayConfig(g)
		cfg.Checksum = mode
		s := newStore(t, cfg)
		data := bytes.Repeat([]byte("walkeep "), 100_000)
		for _, key := range []string{"a", "b"} {
			if err := s.Put(t.Context(), key, data); err != nil {
				t.Errorf("checksum %q: %v", mode, err)
			}
			if got, err := s.Get(t.Context(), key, nil); err != nil || !bytes.Equal(got, data) {
				t.Errorf("checksum %q: %d bytes, %v", mode, len(got), err)
			}
		}
		if err := s.Delete(t.Context(), "a", "b"); err != nil {
			t.Errorf("checksum %q: %v", mode, err)
		}
	}
}

func TestConformanceSingleWriter(t *testing.T) {
	g := storagetest.StartGateway(t)
	storagetest.Run(t, func(t *testing.T) storage.Store {
		cfg := gatewayConfig(g)
		cfg.Prefix = strings.ReplaceAll(t.Name(), "/", ".")
		s, err := storage.SingleWriter(newStore(t, cfg))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// The store's own idea of the checksum is what it was told.
func TestChecksumIsStored(t *testing.T) {
	g := storagetest.StartGateway(t)
	s := newStore(t, gatewayConfig(g))
	if err := s.Put(t.Context(), "a", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	out, err := s.client.HeadObject(t.Context(), &awss3.HeadObjectInput{
		Bucket: &g.Bucket, Key: aws.String("a"), ChecksumMode: "ENABLED",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(out.ChecksumCRC32C); got != "mnG7TA==" {
		t.Errorf("CRC32C %q, want that of hello, mnG7TA==", got)
	}
}

func BenchmarkPut(b *testing.B) {
	g := storagetest.StartGateway(b)
	for _, size := range []int{8 << 10, 4 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			cfg := gatewayConfig(g)
			cfg.Prefix = strings.ReplaceAll(b.Name(), "/", ".")
			s := newStore(b, cfg)
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				if err := s.Put(b.Context(), fmt.Sprintf("tail/a/%08d", n), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
