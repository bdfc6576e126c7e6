package s3

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A clock passes requests on and compares the Date of each answer with our time. The SDK does that too, and
// signs with the difference; but it doesn't show it.
type clock struct {
	client s3.HTTPClient
	skew   atomic.Int64
}

func (c *clock) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(req)
	if resp != nil {
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			c.skew.Store(int64(time.Until(date)))
		}
	}
	return resp, err
}

// ClockSkew is how far the store's clock was ahead of this host's in the last answer (negative: behind), to
// about a second; 0 before the first answer.
func (c *clock) ClockSkew() time.Duration {
	return time.Duration(c.skew.Load())
}

// ClockSkew is how far the store's clock was ahead of this host's in the last answer (negative: behind), to
// about a second; 0 before the first answer. It is for showing: nothing is decided by it.
func (s *Store) ClockSkew() time.Duration {
	return s.clock.ClockSkew()
}
