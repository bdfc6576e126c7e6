package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// Groups of commands in the help, in the order of a bad night.
const (
	groupProtect = "protect"
	groupRestore = "restore"
	groupInspect = "inspect"
)

// A registration puts a command into a group of the help.
type registration struct {
	group  string
	create func(*environment) *cobra.Command
}

// registrations lists every command. A new command adds its line here.
func registrations() []registration {
	return []registration{
		{groupProtect, newCheckCommand},
		{groupProtect, newReceiveCommand},
		{groupProtect, newBackupCommand},
		{groupProtect, newStatusCommand},
		{groupProtect, newPushCommand},
		{groupProtect, newSlotCommand},
		{groupRestore, newFetchCommand},
		{groupInspect, newDemoCommand},
		{groupInspect, newListCommand},
		{groupInspect, newInspectCommand},
		{groupInspect, newTimelineCommand},
		{groupInspect, newGapCommand},
		{groupInspect, newVersionCommand},
	}
}

const rootLong = `walkeep keeps PostgreSQL's write-ahead log safe in object storage from the moment it is
flushed, and hands it back when you need it.`

const rootExample = `  walkeep check   --repo s3://backup/prod --primary 'host=db1 user=walkeep'
  walkeep receive --repo s3://backup/prod --primary 'host=db1 user=walkeep'
  walkeep status`

// newRootCommand builds the whole command tree over env.
//
// Commands must not set PersistentPreRunE: the root's reads the environment variables, checks required
// flags and sets up the logger.
func newRootCommand(env *environment) *cobra.Command {
	var globals globalFlags
	root := &cobra.Command{
		Use:                "walkeep",
		Short:              "Keeps PostgreSQL's write-ahead log safe in object storage",
		Long:               rootLong,
		Example:            rootExample,
		Version:            readBuild().Version,
		SilenceUsage:       true,
		SilenceErrors:      true,
		DisableSuggestions: true,
		CompletionOptions:  cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := applyEnvironment(cmd, env.getenv); err != nil {
				return err
			}
			if err := checkRequired(cmd); err != nil {
				return err
			}
			if err := globals.apply(cmd, env); err != nil {
				return err
			}
			env.started = true
			return nil
		},
	}
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.SetUsageTemplate(usageTemplate)
	root.SetVersionTemplate("walkeep {{.Version}}\n")
	globals.declare(root)
	root.AddGroup(
		&cobra.Group{ID: groupProtect, Title: "Protect:"},
		&cobra.Group{ID: groupRestore, Title: "Restore:"},
		&cobra.Group{ID: groupInspect, Title: "Inspect:"},
	)
	root.SetHelpCommandGroupID(groupInspect)
	for _, r := range registrations() {
		cmd := r.create(env)
		cmd.GroupID = r.group
		if cmd.HasSubCommands() && !cmd.Runnable() {
			requireSubcommand(cmd)
		}
		root.AddCommand(cmd)
	}
	requireSubcommand(root)
	return root
}

// requireSubcommand makes a command that only groups others print its help when it stands alone and refuse
// arguments that name none of them.
func requireSubcommand(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2 // typing errors
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := &usageError{message: "unknown command " + strings.TrimSpace(cmd.CommandPath()+" "+args[0])}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			err.hint = "did you mean " + cmd.CommandPath() + " " + strings.Join(near, " or ") + "?"
		} else {
			err.hint = cmd.CommandPath() + " --help lists the commands"
		}
		return err
	}
}

// usageTemplate is cobra's, without what nobody reads in an emergency, and with the variables.
const usageTemplate = `Usage:{{if and .Runnable (not .HasAvailableSubCommands)}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} <command> [flags]{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$all := .Commands}}{{if .Groups}}{{range $group := .Groups}}

{{.Title}}{{range $all}}{{if and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{else}}

Commands:{{range $all}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}

Each flag can come from the environment instead: --tail-interval from WALKEEP_TAIL_INTERVAL.
`
