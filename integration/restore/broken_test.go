package restore_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"walkeep/integration/postgres"
)

// deaf is an address that takes connections and never answers.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody reads
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// S53: whatever happens to fetch itself, at the first file or in the middle, recovery stops. When fetch is mended, the same
// data directory recovers to the end.
func TestS53RecoveryWithBrokenFetch(t *testing.T) {
	for _, major := range majors() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			ctx := limit(t, 5*time.Minute)
			l := newLab(t, ctx, postgres.Options{Major: major}, "")
			l.startLoad([loadSessions]int{})
			safe := l.more(300)
			l.lose()
			hangs := strings.Replace(l.fetch(), l.repo, "s3://bucket/prefix", 1)
			hangs = strings.Replace(hangs, "env ", "env WALKEEP_S3_ENDPOINT=http://"+deaf(t)+" ", 1)
			killed := func(signal string) string {
				return fmt.Sprintf("(%s & fetch=$!; sleep 0.2; kill -%s $fetch; wait $fetch)", hangs, signal) + wrapper
			}
			first := l.backupStart()
			s := l.recovering("", nil)
			for _, broken := range []string{
				"/nonexistent/walkeep fetch %f %p" + wrapper,
				"(ulimit -v 4000; " + l.fetch() + ")" + wrapper,
				"(ulimit -f 1; " + l.fetch() + ")" + wrapper,
				killed("KILL"), killed("SEGV"), killed("ABRT"), killed("TERM"),
				strings.Replace(l.fetch(), l.repo, "file:///nonexistent", 1) + wrapper,
				strings.Replace(l.fetch(), "%f %p", "%p %f", 1) + wrapper,
				l.fetch("--no-such-flag") + wrapper,
				l.fetch("--help") + wrapper,
				strings.Replace(l.fetch(), " fetch ", " ", 1) + wrapper,
			} {
				// In the middle: the histories and the first two segments are served.
				middle := fmt.Sprintf(`case %%f in *.history|%s|%s) %s;; *) %s;; esac`, first, first.Next(), l.fetch()+wrapper, broken)
				for _, command := range []string{broken, middle} {
					must(t, s.AppendConfig(map[string]string{"restore_command": command}))
					l.stops(s)
				}
			}
			if log := s.Log(0); strings.Count(log, "FATAL") < 10 || !strings.Contains(log, "restored log file") {
				t.Errorf("recovery did not fail as it should:\n%s", log)
			}
			must(t, s.AppendConfig(map[string]string{"restore_command": l.fetch() + wrapper}))
			l.opens(s)
			holds(t, ctx, s, safe, l.load.rows())
		})
	}
}
