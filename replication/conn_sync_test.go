package replication_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"walkeep/replication"
)

func TestParseSyncStandbys(t *testing.T) {
	for _, test := range []struct {
		setting           string
		want              replication.SyncStandbys
		matches, requires bool
	}{
		{"", replication.SyncStandbys{}, false, false},
		{" walkeep ", replication.SyncStandbys{Quorum: 1, Names: []string{"walkeep"}}, true, true},
		{"*", replication.SyncStandbys{Quorum: 1, Names: []string{"*"}}, true, false},
		{"s1, s2", replication.SyncStandbys{Quorum: 1, Names: []string{"s1", "s2"}}, false, false},
		{"s1,WALKEEP", replication.SyncStandbys{Quorum: 1, Names: []string{"s1", "WALKEEP"}}, true, false},
		{"FIRST 2 (s1, walkeep)", replication.SyncStandbys{Quorum: 2, Names: []string{"s1", "walkeep"}}, true, true},
		{"any 1 (s1,walkeep)", replication.SyncStandbys{Quorum: 1, Any: true, Names: []string{"s1", "walkeep"}}, true, false},
		{"2 (s1, s2, walkeep)", replication.SyncStandbys{Quorum: 2, Names: []string{"s1", "s2", "walkeep"}}, true, false},
		{`ANY 2("a b","q""q", walkeep)`, replication.SyncStandbys{Quorum: 2, Any: true, Names: []string{"a b", `q"q`, "walkeep"}}, true, false},
		{`"first", "any"`, replication.SyncStandbys{Quorum: 1, Names: []string{"first", "any"}}, false, false},
	} {
		got, err := replication.ParseSyncStandbys(test.setting)
		if err != nil {
			t.Errorf("%s: %v", test.setting, err)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.setting, diff)
		}
		if got.Matches("walkeep") != test.matches || got.Requires("walkeep") != test.requires {
			t.Errorf("%s: matches %v, requires %v", test.setting, got.Matches("walkeep"), got.Requires("walkeep"))
		}
	}
	for _, bad := range []string{"a b", "a,", ",", "(", "FIRST (a)", "0 (a)", "2 (a", `"a`, "2 ()", "ANY x (a)", "a)"} {
		if s, err := replication.ParseSyncStandbys(bad); err == nil {
			t.Errorf("%s: no error, got %+v", bad, s)
		}
	}
}
