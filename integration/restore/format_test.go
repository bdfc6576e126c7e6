package restore_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"walkeep/integration/oracle"
	"walkeep/integration/postgres"
	"walkeep/segment"
)

// formatDocument is docs/FORMAT.md.
func formatDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(postgres.ModuleRoot(), "docs", "FORMAT.md"))
	must(t, err)
	return string(text)
}

// The example in docs/FORMAT.md is what this version writes and reads.
func TestFormatExample(t *testing.T) {
	_, rest, ok := strings.Cut(formatDocument(t), "As an example")
	_, rest, ok2 := strings.Cut(rest, "```\n")
	dump, _, ok3 := strings.Cut(rest, "```")
	want, err := hex.DecodeString(strings.Join(strings.Fields(dump), ""))
	if !ok || !ok2 || !ok3 || err != nil {
		t.Fatalf("no example in docs/FORMAT.md: %v", err)
	}
	l, err := segment.NewLineage(2, []byte("1\t0/2800000\tno recovery target specified\n"))
	must(t, err)
	raw := []byte("forty-two bytes that stand for WAL, more or")
	statement := segment.NewStatement(7400000000000000001, l, 0x3000100, raw)
	got, err := segment.NewEncoder().Encode(nil, statement, raw)
	must(t, err)
	if !bytes.Equal(got, want) || l.String() != "00000002-00d014cf" {
		t.Errorf("%s is encoded as\n%s, the document says\n%s", l, hex.Dump(got), hex.Dump(want))
	}
	decoded, stated, err := segment.Decode(nil, want)
	if err != nil || !bytes.Equal(decoded, raw) || stated != statement {
		t.Errorf("the example decodes to %q, %s, %v", decoded, stated, err)
	}
}

// The commands that docs/FORMAT.md gives bring segments and tails of a real server out of the repository, byte for byte.
func TestFormatCommands(t *testing.T) {
	ctx := limit(t, 2*time.Minute)
	l := newLab(t, ctx, postgres.Options{}, "")
	for range 3 { // as many links at least
		l.MustExec(t, "INSERT INTO orders SELECT 0, coalesce((SELECT max(serial) FROM orders), 0) + i, 'x' FROM generate_series(1, 7000) i")
		flushed, err := l.FlushLSN(ctx)
		must(t, err)
		must(t, l.receiver.WaitDurable(ctx, flushed))
	}
	must(t, l.receiver.Kill9())
	whole := segment.NameAt(1, l.wholeSegments()-1, segment.MinSize)
	last := whole.Next()
	id, err := l.SystemID(ctx)
	must(t, err)
	dir := t.TempDir()
	results := map[string]string{}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(formatDocument(t), -1)
	for _, block := range blocks {
		name := whole
		if strings.Contains(block[1], "/tail/") {
			name = last
		}
		cmd := exec.CommandContext(ctx, "/bin/sh", "-ec", block[1])
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "REPO="+strings.TrimPrefix(l.repo, "file://"), "ID="+id, "LINEAGE=00000001-00000000",
			"LOG="+name.Log(), "SEGMENT="+name.String(), "SEGMENT_SIZE=1048576")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s%v: %s", block[1], err, out)
		}
		results[block[1]] = string(out)
	}
	if len(blocks) != 3 {
		t.Errorf("%d commands in the document, this test knows 3", len(blocks))
	}
	for _, name := range []segment.Name{whole, last} {
		got, err := os.ReadFile(filepath.Join(dir, name.String()))
		must(t, err)
		want, err := os.ReadFile(filepath.Join(l.DataDir(), "pg_wal", name.String()))
		must(t, err)
		n := len(bytes.TrimRight(got, "\x00"))
		if name == whole {
			n = len(got)
		}
		if n == 0 || len(got) != len(want) {
			t.Errorf("%s: %d bytes, %d not zero", name, len(got), n)
		}
		if err := oracle.Diff(got[:n], want[:n]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for command, out := range results {
		if want := fmt.Sprintf("%016x", uint64(whole.Start())); strings.HasPrefix(command, "od") && !strings.HasPrefix(strings.TrimSpace(out), want) {
			t.Errorf("%s says %q, the segment begins at %s", command, out, whole.Start())
		}
	}
}
