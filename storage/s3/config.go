package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"walkeep/storage"
)

// A Config says where a store is and how to talk to it. Only Bucket is needed on AWS; what is left empty
// comes from the SDK's own sources (environment, shared files, instance metadata).
type Config struct {
	Bucket string
	Prefix string // of every key, without slashes at its ends; "" = the whole bucket

	Endpoint  string    // "https://host:port"; "" = AWS, or AWS_ENDPOINT_URL
	Region    string    // "" = AWS_REGION and so on; "us-east-1" if there is an endpoint
	PathStyle PathStyle // where the bucket's name goes

	Checksum        ChecksumMode
	CAFile          string // PEM certificates to trust in addition to the system's
	UnsignedPayload bool   // leave the integrity of what is sent to TLS; needs an https endpoint

	// Timeout is the longest silence of the store that a call bears (default 30 s): nothing sent, nothing
	// received. It covers looking for credentials too.
	Timeout time.Duration
	// Credentials replaces the SDK's chain if set.
	Credentials aws.CredentialsProvider
}

// PathStyle says where the bucket's name stands in a request.
type PathStyle string

// The styles of Config.PathStyle.
const (
	PathStyleAuto PathStyle = ""      // in the path if there is an endpoint, in the host on AWS
	PathStyleOn   PathStyle = "true"  // https://host/bucket/key
	PathStyleOff  PathStyle = "false" // https://bucket.host/key
)

// ChecksumMode says which checksum of its data a Put declares, so that the store refuses what was damaged on
// the way.
type ChecksumMode string

// The modes of Config.Checksum.
const (
	ChecksumAuto   ChecksumMode = ""       // MD5 for Google's endpoint, CRC32C for every other
	ChecksumCRC32C ChecksumMode = "crc32c" // x-amz-checksum-crc32c
	ChecksumMD5    ChecksumMode = "md5"    // Content-MD5; costs more CPU than compression does
	ChecksumNone   ChecksumMode = "none"
)

const (
	defaultTimeout = 30 * time.Second
	dialTimeout    = 10 * time.Second
	// idleTimeout is shorter than what stores and balancers between use, so that they rarely close a
	// connection that is just being taken up again.
	idleTimeout = 20 * time.Second
	// maxIdleConns must not be less than the calls under way at a time, or each opens its own connection.
	maxIdleConns = 128
	// expectContinueBytes is the size from which a Put asks before it sends its body. What the store refuses
	// (412, 403, 503) then costs no upload, and the refusal can't get lost with a connection that the store
	// closes in the middle of a body it doesn't want. Below it the socket takes the whole body anyway.
	expectContinueBytes = 256 << 10
	googleHost          = "storage.googleapis.com"
)

func (c *Config) validate() error {
	if c.Bucket == "" {
		return fmt.Errorf("%w: no bucket: write s3://BUCKET/PREFIX", storage.ErrInvalid)
	}
	if c.Prefix != "" {
		if err := storage.ValidateKey(c.Prefix); err != nil {
			return fmt.Errorf("prefix in the bucket: %w", err)
		}
	}
	switch c.Checksum {
	case ChecksumAuto, ChecksumCRC32C, ChecksumMD5, ChecksumNone:
	default:
		return fmt.Errorf("%w: checksum %q: write crc32c, md5, none or nothing", storage.ErrInvalid, c.Checksum)
	}
	switch c.PathStyle {
	case PathStyleAuto, PathStyleOn, PathStyleOff:
	default:
		return fmt.Errorf("%w: path style %q: write true, false or nothing", storage.ErrInvalid, c.PathStyle)
	}
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: endpoint %q: write https://HOST or https://HOST:PORT", storage.ErrInvalid, c.Endpoint)
	}
	if c.UnsignedPayload && u.Scheme != "https" {
		return fmt.Errorf("%w: an unsigned payload needs an https endpoint, not %q", storage.ErrInvalid, c.Endpoint)
	}
	return nil
}

// newHTTPClient is the SDK's client with our limits, so that AWS_CA_BUNDLE still works on top.
func (c *Config) newHTTPClient() (*awshttp.BuildableClient, error) {
	var roots *x509.CertPool
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: no PEM certificate in CA file %s", storage.ErrInvalid, c.CAFile)
		}
	}
	client := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			if roots != nil {
				if t.TLSClientConfig == nil {
					t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
				}
				t.TLSClientConfig.RootCAs = roots
			}
			t.MaxIdleConns, t.MaxIdleConnsPerHost, t.MaxConnsPerHost = 2*maxIdleConns, maxIdleConns, 0
			t.IdleConnTimeout = idleTimeout
			t.DisableCompression = true   // Content-Length must be that of the object
			t.ForceAttemptHTTP2 = false   // one connection for all would be one congestion window for all
			t.WriteBufferSize = 128 << 10 // fewer system calls per segment
			t.ReadBufferSize = 64 << 10
		})
	return client, nil
}

// load resolves the SDK's configuration. It reads files and the environment, and asks no server.
func (c *Config) load(ctx context.Context) (aws.Config, error) {
	client, err := c.newHTTPClient()
	if err != nil {
		return aws.Config{}, err
	}
	// The SDK looks for credentials once for all that wait for them, without anybody's deadline: a request for
	// them needs one of its own, or a single one that hangs would hold up all calls for ever. For requests to
	// S3 New takes it away; the metadata service of containers would have a client of its own.
	client = client.WithTimeout(c.Timeout)
	opts := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = client }),
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	}
	if c.Region != "" {
		opts = append(opts, config.WithRegion(c.Region))
	}
	if c.Credentials != nil {
		opts = append(opts, config.WithCredentialsProvider(c.Credentials))
	}
	return config.LoadDefaultConfig(ctx, opts...)
}

// options sets up the SDK's client for S3. Waiting and trying again is storage.Retry's: the SDK's own retries
// have a quota that an outage would use up.
func (c *Config) options(creds aws.CredentialsProvider, client s3.HTTPClient) func(*s3.Options) {
	return func(o *s3.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
		custom := o.BaseEndpoint != nil
		if o.Region == "" && custom {
			o.Region = "us-east-1"
		}
		o.UsePathStyle = c.PathStyle == PathStyleOn || c.PathStyle == PathStyleAuto && custom
		o.Credentials = creds
		o.HTTPClient = client
		o.Retryer = aws.NopRetryer{}
		o.RetryMaxAttempts = 0
		o.ContinueHeaderThresholdBytes = expectContinueBytes
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		if custom && isGoogle(*o.BaseEndpoint) {
			o.APIOptions = append(o.APIOptions, removeAcceptEncoding)
		}
		if c.UnsignedPayload {
			o.APIOptions = append(o.APIOptions, unsignedPayload)
		}
	}
}

func isGoogle(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (u.Hostname() == googleHost || strings.HasSuffix(u.Hostname(), "."+googleHost))
}

// removeAcceptEncoding keeps the header out of the request: Google's front end rewrites it after it was
// signed, and the signature then doesn't match.
func removeAcceptEncoding(stack *middleware.Stack) error {
	_, err := stack.Finalize.Remove("DisableAcceptEncodingGzip")
	return err
}

// unsignedPayload spares the SHA-256 of what a Put sends; other requests are short.
func unsignedPayload(stack *middleware.Stack) error {
	if stack.ID() != "PutObject" {
		return nil
	}
	return v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware(stack)
}

var (
	errNoRegion      = errors.New("no region: set WALKEEP_S3_REGION or AWS_REGION")
	errNoCredentials = errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
)
