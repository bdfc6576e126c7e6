package replication_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/replication"
)

// A certificate is a key with what vouches for it, both in PEM.
type certificate struct {
	x509    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM []byte
	keyPEM  []byte
}

// newCertificate makes an authority if issuer is nil, else a server certificate for "localhost".
func newCertificate(t *testing.T, issuer *certificate) *certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "walkeep test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent, signer := template, key
	if issuer == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		template.DNSNames = []string{"localhost"}
		parent, signer = issuer.x509, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificate{
		x509: parsed, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}
}

// serveTLS makes the server speak TLS with the certificate.
func serveTLS(t *testing.T, s *postgres.Server, c *certificate) {
	t.Helper()
	info, err := os.Stat(s.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	for name, content := range map[string][]byte{"server.crt": c.certPEM, "server.key": c.keyPEM} {
		path := filepath.Join(s.DataDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AppendConfig(map[string]string{"ssl": "on"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func TestTLSVerifyFullWithSCRAM(t *testing.T) {
	ctx := testContext(t)
	s := postgres.Start(t, postgres.Options{Config: map[string]string{"password_encryption": "scram-sha-256"}})
	authority, stranger := newCertificate(t, nil), newCertificate(t, nil)
	serveTLS(t, s, newCertificate(t, authority))
	s.MustExec(t, "CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'right'")
	setHBA(t, s, "local all all trust", "host all postgres 127.0.0.1/32 trust", "hostssl replication keeper 127.0.0.1/32 scram-sha-256")

	dir := t.TempDir()
	good := writeFile(t, dir, "good.crt", string(authority.certPEM))
	bad := writeFile(t, dir, "bad.crt", string(stranger.certPEM))
	dsn := func(host, rest string) string {
		return fmt.Sprintf("host=%s port=%d user=keeper password=right %s", host, s.Port, rest)
	}
	c, err := connectTo(t, dsn("localhost", "sslmode=verify-full channel_binding=require sslrootcert="+good))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identify(ctx); err != nil {
		t.Error(err)
	}
	startStream(t, c, "START_REPLICATION PHYSICAL 0/1000000 TIMELINE 1")

	_, err = connectTo(t, dsn("127.0.0.1", "sslmode=verify-full sslrootcert="+good))
	wantClass(t, "another name", err, replication.ClassAuth)
	_, err = connectTo(t, dsn("localhost", "sslmode=verify-full sslrootcert="+bad))
	wantClass(t, "unknown authority", err, replication.ClassAuth)
	_, err = connectTo(t, dsn("localhost", "sslmode=verify-ca sslrootcert="+bad))
	wantClass(t, "unknown authority, verify-ca", err, replication.ClassAuth)
	if _, err = connectTo(t, dsn("127.0.0.1", "sslmode=verify-ca sslrootcert="+good)); err != nil {
		t.Errorf("verify-ca: %v", err)
	}
	_, err = connectTo(t, dsn("localhost", "sslmode=disable"))
	wantClass(t, "no TLS", err, replication.ClassAuth)
}
