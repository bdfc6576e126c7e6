package replication

import (
	"fmt"
	"strconv"
	"strings"
)

// SyncStandbys is the meaning of synchronous_standby_names (replication/syncrep_gram.y). The zero value is
// the empty setting: replication is asynchronous.
type SyncStandbys struct {
	Quorum int      // how many of Names must confirm a commit
	Any    bool     // any of them (ANY), else the first ones connected, in order (FIRST or a plain list)
	Names  []string // application names; "*" matches every standby
}

// ParseSyncStandbys parses synchronous_standby_names.
func ParseSyncStandbys(s string) (SyncStandbys, error) {
	tokens, err := syncTokens(s)
	if err != nil {
		return SyncStandbys{}, fmt.Errorf("synchronous_standby_names %q: %w", s, err)
	}
	if len(tokens) == 0 {
		return SyncStandbys{}, nil
	}
	standbys, err := parseSyncTokens(tokens)
	if err != nil {
		return SyncStandbys{}, fmt.Errorf("synchronous_standby_names %q: %w", s, err)
	}
	return standbys, nil
}

// Matches reports whether a standby of this application name is listed, itself or by "*". PostgreSQL
// compares without regard to case (replication/syncrep.c: SyncRepGetStandbyPriority).
func (s SyncStandbys) Matches(applicationName string) bool {
	for _, name := range s.Names {
		if name == "*" || strings.EqualFold(name, applicationName) {
			return true
		}
	}
	return false
}

// Requires reports whether no commit can be confirmed without the standby of this name, whoever else is
// connected. With "*" in the list that can't be told from the setting alone: false.
func (s SyncStandbys) Requires(applicationName string) bool {
	others := 0
	for _, name := range s.Names {
		switch {
		case name == "*":
			return false
		case !strings.EqualFold(name, applicationName):
			others++
		}
	}
	return s.Matches(applicationName) && others < s.Quorum
}

// A syncToken is a name, a number or one of "(", ")" and ",". Quoted names are never keywords.
type syncToken struct {
	text   string
	quoted bool
}

func (t syncToken) is(text string) bool { return !t.quoted && strings.EqualFold(t.text, text) }

func (t syncToken) number() (int, bool) {
	n, err := strconv.ParseUint(t.text, 10, 31)
	return int(n), err == nil && !t.quoted
}

func (t syncToken) isPunctuation() bool { return t.is("(") || t.is(")") || t.is(",") }

// parseSyncTokens parses: list | NUM "(" list ")" | FIRST NUM "(" list ")" | ANY NUM "(" list ")".
func parseSyncTokens(tokens []syncToken) (SyncStandbys, error) {
	s := SyncStandbys{Quorum: 1}
	counted := tokens
	if len(tokens) > 2 && (tokens[0].is("ANY") || tokens[0].is("FIRST")) && tokens[2].is("(") {
		s.Any = tokens[0].is("ANY")
		counted = tokens[1:]
	}
	if len(counted) > 1 && counted[1].is("(") {
		n, ok := counted[0].number()
		if !ok || n < 1 || !counted[len(counted)-1].is(")") {
			return SyncStandbys{}, fmt.Errorf("want a number and a list in parentheses")
		}
		s.Quorum = n
		tokens = counted[2 : len(counted)-1]
	}
	for i, token := range tokens {
		if wantComma := i%2 == 1; wantComma != token.is(",") || !wantComma && token.isPunctuation() {
			return SyncStandbys{}, fmt.Errorf("want names separated by commas")
		}
		if i%2 == 0 {
			s.Names = append(s.Names, token.text)
		}
	}
	if len(tokens)%2 == 0 {
		return SyncStandbys{}, fmt.Errorf("want a name at the end")
	}
	return s, nil
}

func syncTokens(s string) ([]syncToken, error) {
	var tokens []syncToken
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case strings.IndexByte(" \t\n\r\f\v", c) >= 0:
			i++
		case c == '(' || c == ')' || c == ',' || c == '*':
			tokens = append(tokens, syncToken{text: s[i : i+1]})
			i++
		case c == '"':
			name, n, err := quotedName(s[i:])
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, syncToken{text: name, quoted: true})
			i += n
		default:
			n := strings.IndexAny(s[i:], " \t\n\r\f\v(),*\"")
			if n < 0 {
				n = len(s) - i
			}
			tokens = append(tokens, syncToken{text: s[i : i+n]})
			i += n
		}
	}
	return tokens, nil
}

// quotedName reads a name in double quotes from the beginning of s and returns it with its length in s.
func quotedName(s string) (string, int, error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), i + 1, nil
	}
	return "", 0, fmt.Errorf("unterminated quoted name")
}
