package s3

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// credentials are those of the SDK's chain, which caches and refreshes them by their expiry. When the store
// refuses them all the same, the chain is built anew: files that were rotated are read again.
type credentials struct {
	load func(context.Context) (aws.CredentialsProvider, error)

	mu         sync.Mutex
	current    aws.CredentialsProvider
	generation int // how often current was replaced
}

func newCredentials(cfg *Config, current aws.CredentialsProvider) *credentials {
	c := *cfg
	return &credentials{current: current, load: func(ctx context.Context) (aws.CredentialsProvider, error) {
		loaded, err := c.load(ctx)
		return loaded.Credentials, err
	}}
}

func (c *credentials) get() (aws.CredentialsProvider, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current, c.generation
}

// Retrieve returns the chain's credentials.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	current, _ := c.get()
	if current == nil {
		return aws.Credentials{}, errNoCredentials
	}
	return current.Retrieve(ctx)
}

// renew replaces the chain of the given generation, which the store refused, and reports whether there are
// other credentials now than then.
func (c *credentials) renew(ctx context.Context, refused int) bool {
	old, generation := c.get()
	if generation != refused {
		return true // another call has done it
	}
	fresh, err := c.load(ctx)
	if err != nil || fresh == nil || old == nil {
		return false
	}
	oldValue, oldErr := old.Retrieve(ctx)
	freshValue, err := fresh.Retrieve(ctx)
	if err != nil || oldErr == nil && oldValue.AccessKeyID == freshValue.AccessKeyID &&
		oldValue.SecretAccessKey == freshValue.SecretAccessKey && oldValue.SessionToken == freshValue.SessionToken {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == refused {
		c.current = fresh
		c.generation++
	}
	return true
}
