package inspect_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walkeep/integration/postgres"
	"walkeep/segment"
	"walkeep/segment/record"
)

// TestNames: every operation of every resource manager, known or not, has the name that the server has for it. The server reads
// a segment in which each occurs once.
func TestNames(t *testing.T) {
	for _, major := range postgres.Matrix() {
		if major < 15 {
			continue // no pg_walinspect
		}
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), deadline())
			defer cancel()
			s := postgres.Start(t, postgres.Options{Major: major, SegmentSizeMB: 1, Config: map[string]string{"wal_keep_size": "64MB"}})
			s.MustExec(t, "CREATE EXTENSION pg_walinspect")
			path, wal, from := forge(t, ctx, s)
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.Write(wal)
			must(t, err)
			must(t, f.Close())

			want := map[string]int64{}
			conn, err := s.Connect(ctx)
			must(t, err)
			defer conn.Close(context.WithoutCancel(ctx))
			to := from + 15<<16
			rows, err := conn.Query(ctx, `SELECT "resource_manager/record_type", count FROM pg_get_wal_stats($1, $2, true) WHERE count > 0`,
				from.String(), to.String())
			must(t, err)
			var name string
			var count int64
			_, err = pgx.ForEachRow(rows, []any{&name, &count}, func() error {
				want[name] += count
				return nil
			})
			must(t, err)

			got := map[string]int64{}
			for _, op := range forged() {
				got[record.ManagerName(op.rmid)+"/"+record.OpName(record.Version(major), op.rmid, op.info)]++
			}
			got["XLOG/NOOP"] = want["XLOG/NOOP"] // fills the segment
			sameCounts(t, want, got)
			if major == 15 {
				sameCounts(t, waldumpNames(t, path, from, to), got)
			}
		})
	}
}

func sameCounts(t *testing.T, want, got map[string]int64) {
	t.Helper()
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%d of %s, the server has %d", got[name], name, n)
		}
	}
	for name := range got {
		if want[name] == 0 {
			t.Errorf("the server knows no %s", name)
		}
	}
}

// waldumpNames counts by the names of pg_waldump.
func waldumpNames(t *testing.T, path string, from, to segment.LSN) map[string]int64 {
	t.Helper()
	out, err := exec.Command(postgres.Tool("pg_waldump"), "-p", filepath.Dir(path), "-s", from.String(), "-e", to.String(), "--stats=record").Output()
	must(t, err)
	counts := map[string]int64{}
	for _, l := range strings.Split(string(out), "\n") {
		name, rest, ok := strings.Cut(l, "  ")
		if !ok || !strings.Contains(name, "/") || strings.HasPrefix(name, "WAL") {
			continue
		}
		var n int64
		_, err := fmt.Sscan(rest, &n)
		must(t, err)
		counts[strings.TrimSpace(name)] += n
	}
	return counts
}

type forgedOp struct{ rmid, info uint8 }

// forged lists all operations but the switch, behind which a segment holds nothing, and what would be read as lost records.
func forged() []forgedOp {
	var all []forgedOp
	for rmid := range uint8(record.BuiltinManagers) {
		for op := range uint8(16) {
			if rmid != 0 || op != 4 && op != 0xD {
				all = append(all, forgedOp{rmid, op << 4})
			}
		}
	}
	return all
}

// forge makes the content of a segment that the server has finished: the pages' own headers, records of nothing but a header.
func forge(t *testing.T, ctx context.Context, s *postgres.Server) (path string, wal []byte, from segment.LSN) {
	t.Helper()
	_, err := s.SwitchWAL(ctx)
	must(t, err)
	end, err := s.FlushLSN(ctx)
	must(t, err)
	for range 3 {
		_, err = s.SwitchWAL(ctx)
		must(t, err)
	}
	name := segment.NameAt(1, end, segment.MinSize)
	path = filepath.Join(s.DataDir(), "pg_wal", name.String())
	original, err := os.ReadFile(path)
	must(t, err)
	f := forger{header: original[:40], start: name.Start(), wal: make([]byte, 0, segment.MinSize)}
	ops := forged()
	for len(f.wal) < int(segment.MinSize) {
		op := forgedOp{0, 0x20} // NOOP up to the end
		if f.n < len(ops) {
			op = ops[f.n]
		}
		f.record(op)
	}
	return path, f.wal[:segment.MinSize], name.Start() + 40
}

type forger struct {
	header []byte
	start  segment.LSN
	wal    []byte
	prev   segment.LSN
	n      int
}

const page = 8192

func (f *forger) record(op forgedOp) {
	if len(f.wal)%page == 0 {
		h := append([]byte{}, f.header...)
		if len(f.wal) > 0 {
			h = h[:24]
		}
		info := uint16(2)
		if len(f.wal) > 0 {
			info = 0
		}
		binary.LittleEndian.PutUint16(h[2:], info)
		binary.LittleEndian.PutUint64(h[8:], uint64(f.start)+uint64(len(f.wal)))
		binary.LittleEndian.PutUint32(h[16:], 0)
		f.wal = append(f.wal, h...)
	}
	lsn := f.start + segment.LSN(len(f.wal))
	r := make([]byte, 24)
	if rest := page - len(f.wal)%page - len(r); rest > 0 && rest < 24 { // too little for the next one: main data fills it
		r = append(r, make([]byte, rest)...)
		r[24], r[25] = 255, byte(rest-2)
	}
	binary.LittleEndian.PutUint32(r, uint32(len(r)))
	binary.LittleEndian.PutUint64(r[8:], uint64(f.prev))
	r[16], r[17] = op.info, op.rmid
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(r[20:], crc32.Update(crc32.Checksum(r[24:], castagnoli), castagnoli, r[:20]))
	f.wal = append(f.wal, r...)
	f.prev = lsn
	f.n++
}
