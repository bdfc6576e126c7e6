package replication

import (
	"time"

	"walkeep/segment"
)

// series remembers when positions were passed: mark i says that the WAL behind mark i-1, up to lsn, was seen at a time. It
// is bounded; when it joins marks it keeps the older time and the farther position, so that no age is understated.
type series struct {
	marks []passed
}

type passed struct {
	lsn     segment.LSN
	at      time.Time
	commits uint64 // before it
}

const (
	seriesSpacing = 5 * time.Millisecond
	maxSeries     = 4096
)

// add notes that everything before lsn was seen at a time. commits is how many there were before the WAL seen now.
func (s *series) add(lsn segment.LSN, at time.Time, commits uint64) {
	if n := len(s.marks); n > 0 {
		if lsn <= s.marks[n-1].lsn {
			return
		}
		if at.Sub(s.marks[n-1].at) < seriesSpacing {
			s.marks[n-1].lsn = lsn
			return
		}
	}
	s.marks = append(s.marks, passed{lsn: lsn, at: at, commits: commits})
	if len(s.marks) > maxSeries {
		s.thin()
	}
}

func (s *series) thin() {
	half := s.marks[:0]
	for i := 0; i < len(s.marks); i += 2 {
		m := s.marks[i]
		if i+1 < len(s.marks) {
			m.lsn = s.marks[i+1].lsn
		}
		half = append(half, m)
	}
	s.marks = half
}

// drop forgets what is not behind lsn.
func (s *series) drop(lsn segment.LSN) {
	gone := 0
	for gone < len(s.marks) && s.marks[gone].lsn <= lsn {
		gone++
	}
	s.marks = append(s.marks[:0], s.marks[gone:]...)
}

// behind returns the first mark that is behind lsn.
func (s *series) behind(lsn segment.LSN) (passed, bool) {
	for _, m := range s.marks {
		if m.lsn > lsn {
			return m, true
		}
	}
	return passed{}, false
}
