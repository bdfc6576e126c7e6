package s3

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// renewEvery keeps a store that knows no credentials of ours from making us look for them all the time.
const renewEvery = time.Second

// credentials are those of the SDK's chain, which caches and refreshes them by their expiry. When the store
// refuses them all the same, the chain is built anew: files that were rotated are read again.
type credentials struct {
	load func(context.Context) (aws.CredentialsProvider, error)

	mu      sync.Mutex
	current aws.CredentialsProvider
	renewed time.Time
}

func newCredentials(cfg *Config, current aws.CredentialsProvider) *credentials {
	c := *cfg
	return &credentials{current: current, load: func(ctx context.Context) (aws.CredentialsProvider, error) {
		loaded, err := c.load(ctx)
		return loaded.Credentials, err
	}}
}

// Retrieve returns the chain's credentials.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c.mu.Lock()
	current := c.current
	c.mu.Unlock()
	if current == nil {
		return aws.Credentials{}, errNoCredentials
	}
	return current.Retrieve(ctx)
}

// renew makes the next Retrieve look everywhere again, and reports whether trying again makes sense.
func (c *credentials) renew(ctx context.Context) bool {
	c.mu.Lock()
	recent := time.Since(c.renewed) < renewEvery
	c.mu.Unlock()
	if recent {
		return true // another call has just done it
	}
	fresh, err := c.load(ctx)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current, c.renewed = fresh, time.Now()
	return true
}
