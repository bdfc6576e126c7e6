package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"walkeep/replication"
)

func newSlotCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "slot",
		Short: "List or drop the replication slots that keep WAL on the servers",
		Long: `Replication slots make a server keep WAL until receive has stored it. One that nobody uses fills the
server's disk.`,
	}
	cmd.AddCommand(newSlotListCommand(env), newSlotDropCommand(env))
	return cmd
}

func newSlotListCommand(env *environment) *cobra.Command {
	var (
		primary, slot string
		asJSON        bool
	)
	cmd := &cobra.Command{
		Use:     "list [--primary DSN]",
		Short:   "List the slots of every host: who uses them, how much WAL they keep",
		Example: "  walkeep slot list --primary 'host=db1,db2 user=walkeep'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := slotConfig(cmd, primary, slot)
			if err != nil {
				return err
			}
			lists, err := listSlots(cmd.Context(), cfg, slot)
			if asJSON {
				return errors.Join(env.printJSON(map[string]any{"hosts": lists}), err)
			}
			return errors.Join(printSlots(env.stdout, lists), err)
		},
	}
	addPrimaryFlag(cmd, &primary)
	addSlotFlag(cmd, &slot)
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func newSlotDropCommand(env *environment) *cobra.Command {
	var (
		primary, slot string
		apply, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "drop [--primary DSN] [--slot NAME] [--apply]",
		Short: "Drop the slot on every host, once receive is not to come back",
		Long: `Tells what dropping the slot would mean, and does it with --apply. A slot in use is never dropped. After
that the servers may remove WAL that is not in the repository.`,
		Example: "  walkeep slot drop --primary 'host=db1 user=walkeep' --apply",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := slotConfig(cmd, primary, slot)
			if err != nil {
				return err
			}
			drops, err := dropSlots(cmd.Context(), cfg, slot, apply)
			if asJSON {
				return errors.Join(env.printJSON(map[string]any{"applied": apply, "hosts": drops}), err)
			}
			return errors.Join(printDrops(env.stdout, drops), err)
		},
	}
	addPrimaryFlag(cmd, &primary)
	addSlotFlag(cmd, &slot)
	cmd.Flags().BoolVar(&apply, "apply", false, "drop the slot instead of only telling what would happen")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func slotConfig(cmd *cobra.Command, primary, slot string) (*replication.Config, error) {
	if err := replication.ValidateSlotName(slot); err != nil {
		return nil, usageErrorf(cmd, "--slot: %s", err)
	}
	cfg, err := replication.ParseDSN(primary)
	if err != nil {
		return nil, usageErrorf(cmd, "--primary: %s", err)
	}
	return cfg, nil
}

// A slotList is what one host answered.
type slotList struct {
	Host  string                 `json:"host"`
	Slots []replication.SlotInfo `json:"slots"`
	// Partial tells that only --slot could be looked at, and little of it, and why.
	Partial string `json:"partial,omitempty"`
	Error   string `json:"error,omitempty"`
}

// listSlots asks every host. The error names those that did not answer.
func listSlots(ctx context.Context, cfg *replication.Config, slot string) ([]slotList, error) {
	var (
		lists  []slotList
		failed []error
	)
	for _, host := range cfg.Hosts() {
		list := slotList{Host: host.String(), Slots: []replication.SlotInfo{}}
		slots, sqlErr := slotsBySQL(ctx, cfg, host)
		if sqlErr != nil {
			var err error
			slots, err = slotByReplication(ctx, cfg, host, slot)
			if err != nil {
				list.Error = err.Error()
				failed = append(failed, err)
			}
			list.Partial = sqlErr.Error()
		}
		list.Slots = append(list.Slots, slots...)
		lists = append(lists, list)
	}
	return lists, errors.Join(failed...)
}

func slotsBySQL(ctx context.Context, cfg *replication.Config, host replication.Host) ([]replication.SlotInfo, error) {
	sql, err := replication.OpenSQL(ctx, cfg, host)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(ctx, sql.Close)
	return sql.Slots(ctx)
}

// slotByReplication looks at one slot where SQL isn't allowed: whether it is there and from where it retains WAL.
func slotByReplication(ctx context.Context, cfg *replication.Config, host replication.Host, name string) ([]replication.SlotInfo, error) {
	conn, err := replication.Connect(ctx, cfg, host)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(ctx, conn.Close)
	slot, err := conn.ReadSlot(ctx, name)
	if err != nil || !slot.Exists {
		return nil, err
	}
	return []replication.SlotInfo{{Name: name, Type: "physical", RestartLSN: slot.RestartLSN}}, nil
}

func printSlots(w io.Writer, lists []slotList) error {
	answered := slices.ContainsFunc(lists, func(l slotList) bool { return l.Error == "" })
	if !answered {
		return nil // the error says it all
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tSLOT\tTYPE\tUSED BY\tRESTART LSN\tRETAINED\tSTATUS")
	for _, list := range lists {
		for _, s := range list.Slots {
			used, retained, status := "nobody", byteSize(float64(s.Retained)), s.WALStatus
			if s.Active {
				used = fmt.Sprintf("process %d", s.ActivePID)
			}
			if list.Partial != "" {
				used, retained, status = "?", "?", "?"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", list.Host, s.Name, s.Type, used, s.RestartLSN, retained, status)
		}
		if len(list.Slots) == 0 && list.Error == "" {
			fmt.Fprintf(table, "%s\tnone\t\t\t\t\t\n", list.Host)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write list: %w", err)
	}
	for _, list := range lists {
		if list.Partial != "" && list.Error == "" {
			fmt.Fprintf(w, "%s: only --slot could be looked at: %s\n", list.Host, oneLine(list.Partial))
		}
	}
	return nil
}
