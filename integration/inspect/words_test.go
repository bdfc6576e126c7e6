package inspect_test

import (
	"regexp"
	"strings"
)

// describeOnly is the description without operation and blocks, which the server has elsewhere.
func describeOnly(l said) string {
	s := strings.TrimSpace(strings.TrimPrefix(l.Description, l.Op))
	if at := strings.Index(s, ", blkref #"); at >= 0 {
		s = s[:at]
	}
	return s
}

var (
	fileOf     = regexp.MustCompile(`\b(\d+)/(\d+)/(\d+)\b`)
	serverTime = regexp.MustCompile(`\d\d:\d\d:\d\d(\.\d+)?\+00`)
	gid        = regexp.MustCompile(`; gid \w+`)
	numbers    = map[string]*regexp.Regexp{
		"off": regexp.MustCompile(`off:? (\d+)`), "xmax": regexp.MustCompile(`xmax:? (\d+)`),
		"flags": regexp.MustCompile(`flags:? (0x\w+)`), "new": regexp.MustCompile(`new[_ ]off:? (\d+)`),
		"tuples": regexp.MustCompile(`ntuples: (\d+)|(\d+) tuples`),
	}
)

// comparable reduces a description to what all versions say in words that can be compared: "" where walkeep doesn't decode.
func comparable(manager, op, s string) string {
	s = strings.TrimPrefix(strings.TrimSpace(s), "; ")
	if strings.Contains(s, "+00") {
		s = serverTime.ReplaceAllStringFunc(s, fullTime)
	}
	switch manager {
	case "XLOG":
		return s
	case "Transaction":
		return paths(gid.ReplaceAllString(s, ""))
	case "Database", "RelMap":
		return s
	case "Heap", "Heap2":
		return rowNumbers(op, s)
	}
	return ""
}

// fullTime writes a time as walkeep does: the server leaves out zeros at the end.
func fullTime(at string) string {
	seconds, fraction, _ := strings.Cut(strings.TrimSuffix(at, "+00"), ".")
	return seconds + "." + (fraction + "000000")[:6] + " UTC"
}

// paths writes files as the server does.
func paths(s string) string {
	return fileOf.ReplaceAllStringFunc(s, func(l string) string {
		part := fileOf.FindStringSubmatch(l)
		switch part[1] {
		case "1663":
			return "base/" + part[2] + "/" + part[3]
		case "1664":
			return "global/" + part[3]
		}
		return l // statistics have the same form
	})
}

func rowNumbers(op, s string) string {
	name, _, _ := strings.Cut(op, "+")
	var out []string
	for _, what := range map[string][]string{
		"INSERT": {"off", "flags"}, "DELETE": {"off", "flags"}, "UPDATE": {"off", "xmax", "flags", "new"},
		"HOT_UPDATE": {"off", "xmax", "flags", "new"}, "MULTI_INSERT": {"tuples", "flags"},
	}[name] {
		m := numbers[what].FindStringSubmatch(s)
		if m == nil {
			return s + " has no " + what
		}
		out = append(out, what, strings.Join(m[1:], ""))
	}
	return strings.Join(out, " ")
}
