package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the linker: go build -ldflags "-X main.version=v0.1.0 -X main.commit=..." Without them the build
// information of the Go tool chain serves.
var (
	version string
	commit  string
)

// A build says what was compiled, and from what.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"` // "" if unknown
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readBuild returns what the binary knows about its making. Version is never empty.
func readBuild() build {
	b := build{
		Version: version, Commit: commit,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && b.Commit == "":
				b.Commit = s.Value
			case s.Key == "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

// newVersionCommand builds "walkeep version".
func newVersionCommand(env *environment) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which walkeep this is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if asJSON {
				return env.printJSON(b)
			}
			_, err := fmt.Fprintf(env.stdout, "walkeep %s\n%s", b.Version, b.details())
			return err
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func (b build) details() string {
	text := fmt.Sprintf("built with %s for %s\n", b.Go, b.Platform)
	if b.Commit == "" {
		return text
	}
	text += "from commit " + b.Commit
	if b.Modified {
		text += ", modified"
	}
	return text + "\n"
}
