package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"walkeep/replication"
	"walkeep/segment"
)

// A slotDrop is what dropping the slot means, or meant, on one host.
type slotDrop struct {
	Host       string      `json:"host"`
	Slot       string      `json:"slot"`
	Action     string      `json:"action"` // "drop" (planned), "dropped", "none" or "refused"
	RestartLSN segment.LSN `json:"restart_lsn"`
	Detail     string      `json:"detail"`
}

// dropSlots plans and, with apply, drops the slot on each host. The error names the hosts where it could not be
// done.
func dropSlots(ctx context.Context, cfg *replication.Config, name string, apply bool) ([]slotDrop, error) {
	var (
		drops  []slotDrop
		failed []error
	)
	for _, host := range cfg.Hosts() {
		drop, err := planDrop(ctx, cfg, host, name)
		if err == nil && apply && drop.Action == "drop" {
			err = applyDrop(ctx, cfg, host, &drop)
		}
		if err != nil {
			drop.Action, drop.Detail = "refused", err.Error()
			failed = append(failed, err)
		}
		drops = append(drops, drop)
	}
	return drops, errors.Join(failed...)
}

func planDrop(ctx context.Context, cfg *replication.Config, host replication.Host, name string) (slotDrop, error) {
	drop := slotDrop{Host: host.String(), Slot: name}
	slot, err := findSlot(ctx, cfg, host, name)
	switch {
	case err != nil:
		return drop, err
	case slot == nil:
		drop.Action, drop.Detail = "none", "there is no such slot"
		return drop, nil
	case slot.Active:
		return drop, withHint(fmt.Errorf("%s: slot %s is in use by process %d", host, name, slot.ActivePID),
			"stop that receiver first")
	case slot.Type != "physical":
		return drop, fmt.Errorf("%s: slot %s is a %s slot, none of walkeep's", host, name, slot.Type)
	}
	drop.Action, drop.RestartLSN = "drop", slot.RestartLSN
	drop.Detail = fmt.Sprintf("it retains WAL from %s", slot.RestartLSN)
	if slot.Lost() || slot.RestartLSN == 0 {
		drop.Detail = "it retains no WAL"
	}
	return drop, nil
}

// findSlot looks with SQL, else with the replication protocol, which can't tell whether the slot is in use. A
// slot in use refuses to be dropped by itself.
func findSlot(ctx context.Context, cfg *replication.Config, host replication.Host, name string) (*replication.SlotInfo, error) {
	slots, sqlErr := slotsBySQL(ctx, cfg, host)
	if sqlErr != nil {
		var err error
		slots, err = slotByReplication(ctx, cfg, host, name)
		if errors.Is(err, replication.ErrUnsupported) {
			return nil, sqlErr // before 15 there is no other way
		}
		if err != nil {
			return nil, err
		}
	}
	for i := range slots {
		if slots[i].Name == name {
			return &slots[i], nil
		}
	}
	return nil, nil
}

func applyDrop(ctx context.Context, cfg *replication.Config, host replication.Host, drop *slotDrop) error {
	conn, err := replication.Connect(ctx, cfg, host)
	if err != nil {
		return err
	}
	defer closeQuietly(ctx, conn.Close)
	err = conn.DropSlot(ctx, drop.Slot)
	switch {
	case errors.Is(err, replication.ErrSlotMissing):
		drop.Action, drop.Detail = "none", "somebody else dropped it just now"
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", host, err)
	}
	drop.Action = "dropped"
	return nil
}

func printDrops(w io.Writer, drops []slotDrop) error {
	planned := false
	for _, d := range drops {
		text := ""
		switch d.Action {
		case "drop":
			planned = true
			text = fmt.Sprintf("would drop slot %s: %s", d.Slot, d.Detail)
		case "dropped":
			text = fmt.Sprintf("dropped slot %s: the server may remove WAL from %s on", d.Slot, d.RestartLSN)
		case "none":
			text = fmt.Sprintf("slot %s: %s", d.Slot, d.Detail)
		default:
			continue // part of the error
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", d.Host, text); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	if planned {
		if _, err := fmt.Fprintln(w, "nothing was changed: add --apply"); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	return nil
}
