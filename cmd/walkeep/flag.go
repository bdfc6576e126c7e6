package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// requiredAnnotation marks flags that must be given, on the command line or in the environment.
const requiredAnnotation = "walkeep_required"

// defaultSlot is the replication slot's name where --slot isn't given.
const defaultSlot = "walkeep"

// addRepoFlag declares --repo. Commands that can't do without it call requireFlag(cmd, "repo") as well.
func addRepoFlag(cmd *cobra.Command, v *string) {
	cmd.Flags().StringVar(v, "repo", "", "repository `URL`: file:///path or s3://bucket/prefix")
}

// addPrimaryFlag declares --primary. Empty means libpq's environment (PGHOST, PGSERVICE, ...), as in psql.
func addPrimaryFlag(cmd *cobra.Command, v *string) {
	cmd.Flags().StringVar(v, "primary", "",
		"`DSN` of the primary, several hosts allowed (default: PGHOST and its kin, as psql)")
}

// addSystemIDFlag declares --system-id.
func addSystemIDFlag(cmd *cobra.Command, v *string) {
	cmd.Flags().StringVar(v, "system-id", "", "cluster's system `ID`, where the repository holds several")
}

// addSlotFlag declares --slot.
func addSlotFlag(cmd *cobra.Command, v *string) {
	cmd.Flags().StringVar(v, "slot", defaultSlot, "`NAME` of the physical replication slot")
}

// addJSONFlag declares --json.
func addJSONFlag(cmd *cobra.Command, v *bool) {
	cmd.Flags().BoolVar(v, "json", false, "print JSON")
}

// requireFlag makes the declared flags required: without a value from the command line or the environment
// the command doesn't run, and the error names both spellings.
func requireFlag(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.Flags().SetAnnotation(name, requiredAnnotation, []string{"true"}); err != nil {
			panic(err) // a flag that was never declared
		}
	}
}

// variable returns the environment variable of a flag: WALKEEP_TAIL_INTERVAL for tail-interval.
func variable(flag string) string {
	return "WALKEEP_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applyEnvironment sets each flag of cmd that the command line left alone from its variable. An empty
// variable counts as unset. --help and --version have none.
func applyEnvironment(cmd *cobra.Command, getenv func(string) string) error {
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		value := getenv(variable(f.Name))
		if value == "" {
			return
		}
		// The value stays out of the message: it may hold a password.
		if f.Value.Set(value) != nil {
			err = usageErrorf(cmd, "%s (flag --%s) is not valid", variable(f.Name), f.Name)
			return
		}
		f.Changed = true
	})
	return err
}

// checkRequired returns an error naming each required flag that has no value.
func checkRequired(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[requiredAnnotation] != nil && f.Value.String() == "" {
			missing = append(missing, fmt.Sprintf("--%s (or %s)", f.Name, variable(f.Name)))
		}
	})
	if len(missing) > 0 {
		return usageErrorf(cmd, "%s is required", strings.Join(missing, " and "))
	}
	return nil
}

// globalFlags are those that every command takes.
type globalFlags struct {
	logFormat string
	logLevel  slog.Level
	quiet     bool
}

func (g *globalFlags) declare(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&g.logFormat, "log-format", "text", "`FORMAT` of the log on stderr: text or json")
	flags.TextVar(&g.logLevel, "log-level", slog.LevelInfo, "least `LEVEL` logged: debug, info, warn or error")
	flags.BoolVarP(&g.quiet, "quiet", "q", false, "no progress; of the log only warnings and errors")
}

// apply sets up the environment for the command that is about to run.
func (g *globalFlags) apply(cmd *cobra.Command, env *environment) error {
	level := g.logLevel
	if g.quiet {
		level = max(level, slog.LevelWarn)
	}
	logger, err := newLogger(env.stderr, g.logFormat, level)
	if err != nil {
		return usageErrorf(cmd, "--log-format (or %s): %s", variable("log-format"), err)
	}
	env.logger, env.quiet = logger, g.quiet
	return nil
}
