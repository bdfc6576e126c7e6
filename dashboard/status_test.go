package dashboard

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The names and forms of /status.json are a contract with scripts: testdata/status.json spells them out.
func TestStatusJSON(t *testing.T) {
	s := streaming(func(s *Status) {
		s.Format, s.State, s.Gaps, s.Message = Format, Gap, []GapRange{lostGap()}, "Take a base backup now."
		s.Uploads.StalledSince = ago(2 * time.Second)
	})
	got, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("status.json differs (-want +got):\n%s", diff)
	}
	var back Status
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, back); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
}

func TestTimeJSON(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	tests := []struct {
		time Time
		want string
	}{
		{Time{}, `null`},
		{At(time.Date(2026, 1, 2, 3, 4, 5, 6789, zone)), `"2026-01-02T01:04:05.000006Z"`},
	}
	for _, test := range tests {
		got, err := json.Marshal(test.time)
		if err != nil || string(got) != test.want {
			t.Errorf("Marshal(%v) = %s, %v, want %s", test.time, got, err, test.want)
		}
	}
	var back Time
	if err := json.Unmarshal([]byte(`"yesterday"`), &back); err == nil {
		t.Error("Unmarshal took yesterday")
	}
}

func TestParseLSN(t *testing.T) {
	tests := []struct {
		text string
		want uint64
		ok   bool
	}{
		{"0/1A2B3C", 0x1A2B3C, true},
		{"FFFFFFFF/FFFFFFFF", 1<<64 - 1, true},
		{"", 0, false},
		{"0/0", 0, false},
		{"12", 0x1200000000, false},
		{"1/2/3", 0x100000000, false},
	}
	for _, test := range tests {
		got, ok := parseLSN(test.text)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("parseLSN(%q) = %#x, %t, want %#x, %t", test.text, got, ok, test.want, test.ok)
		}
	}
}

func TestAddress(t *testing.T) {
	for want, server := range map[string]Server{
		"":                   {},
		"db1:5432":           {Host: "db1", Port: 5432},
		"[::1]:5433":         {Host: "::1", Port: 5433},
		"/run/postgresql":    {Host: "/run/postgresql", Port: 5432},
		"db1.example.com:54": {Host: "db1.example.com", Port: 54},
	} {
		if got := server.Address(); got != want {
			t.Errorf("Address of %+v = %q, want %q", server, got, want)
		}
	}
}
