package restore_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"walkeep/integration/postgres"
	"walkeep/integration/walkeep"
)

// systemd takes the unit in docs/OPERATIONS.md without a word.
func TestOperationsUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	text, err := os.ReadFile(filepath.Join(postgres.ModuleRoot(), "docs", "OPERATIONS.md"))
	must(t, err)
	block := regexp.MustCompile("(?s)```ini\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("no unit in docs/OPERATIONS.md")
	}
	dir := t.TempDir()
	variables := filepath.Join(dir, "prod.env")
	must(t, os.WriteFile(variables, nil, 0o600))
	unit := strings.NewReplacer("/usr/local/bin/walkeep", walkeep.Binary(t), "/etc/walkeep/%i.env", variables).Replace(string(block[1]))
	path := filepath.Join(dir, "walkeep@prod.service")
	must(t, os.WriteFile(path, []byte(unit), 0o644))
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
