package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"walkeep/restore"
)

// 1 is said with a proof of absence, or to a standby, and never otherwise.
func TestExitFetch(t *testing.T) {
	trouble := errors.New("trouble")
	for name, c := range map[string]struct {
		ran  bool
		args string
		err  error
		want exitCode
	}{
		"found":                       {true, "fetch a b", nil, exitOK},
		"help for a person":           {false, "fetch --help", nil, exitOK},
		"help instead of a file":      {false, "fetch --help a b", nil, exitUnknown},
		"trouble":                     {true, "fetch a b", trouble, exitUnknown},
		"absence without a proof":     {true, "fetch a b", &absentError{}, exitUnknown},
		"hole":                        {true, "fetch a b", &restore.Hole{Name: "a"}, exitUnknown},
		"reported":                    {true, "fetch a b", errReported, exitUnknown},
		"usage":                       {true, "fetch a b", &usageError{message: "x"}, exitUnknown},
		"standby":                     {true, "fetch a b", &standbyError{trouble}, exitFailure},
		"standby, interrupted":        {true, "fetch a b", fmt.Errorf("interrupted: %w", &standbyError{trouble}), exitFailure},
		"trouble that wraps usage":    {true, "fetch a b", fmt.Errorf("x: %w", &usageError{message: "x"}), exitUnknown},
		"absence without a proof too": {true, "fetch a b", errors.Join(&absentError{}, trouble), exitUnknown},
	} {
		if got := exitFetch(c.ran, strings.Fields(c.args), c.err); got != c.want {
			t.Errorf("%s: exit %d, want %d", name, got, c.want)
		}
	}
}
