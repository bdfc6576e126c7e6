// Package bench measures walkeep against its promises: `make bench`. Every number is a ratio to a peer in the same run, for
// machines are noisy; a round runs all contestants one after the other, and medians are shown.
package bench

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
	"walkeep/storage/storagetest"
)

// setting reads a number from the environment, so that a run can be made shorter.
func setting(b *testing.B, name string, def int) int {
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		b.Fatalf("%s=%q: want a number above zero", name, s)
	}
	return n
}

// cost is what a contestant used.
type cost struct {
	wall, cpu time.Duration
	rssMB     float64
}

func costOf(wall time.Duration, state *os.ProcessState) cost {
	usage := state.SysUsage().(*syscall.Rusage)
	return cost{wall: wall, cpu: state.UserTime() + state.SystemTime(), rssMB: float64(usage.Maxrss) / 1024}
}

// run runs a command to its end.
func run(b *testing.B, s *postgres.Server, name string, args ...string) cost {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PGHOST=127.0.0.1", "PGPORT="+strconv.Itoa(s.Port), "PGUSER=postgres", "PGDATABASE=postgres")
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return costOf(time.Since(began), cmd.ProcessState)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// bucket is a repository on the S3 server.
type bucket struct {
	gateway *storagetest.Gateway
	n       int
}

func (g *bucket) next() (repo string, env []string) {
	g.n++
	return fmt.Sprintf("s3://%s/run%d", g.gateway.Bucket, g.n), []string{
		"WALKEEP_S3_ENDPOINT=" + g.gateway.Endpoint, "WALKEEP_S3_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + g.gateway.Access, "AWS_SECRET_ACCESS_KEY=" + g.gateway.Secret,
	}
}

// receive starts the receiver as its own process, so that what it costs can be read.
func receive(b *testing.B, s *postgres.Server, repo, slot string, env []string, args ...string) *walkeep.Receiver {
	b.Helper()
	return receiveFrom(b, s.DSN(), repo, slot, env, args...)
}

func receiveFrom(b *testing.B, dsn, repo, slot string, env []string, args ...string) *walkeep.Receiver {
	b.Helper()
	return walkeep.Receive(b, walkeep.ReceiveOptions{Repo: repo, DSN: dsn, Slot: slot, Env: env, Args: args})
}

const debian15 = "/usr/lib/postgresql/15/bin/"
