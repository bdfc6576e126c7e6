package segment

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in the write-ahead log (access/xlogdefs.h: XLogRecPtr). Zero is
// PostgreSQL's InvalidXLogRecPtr: no position.
type LSN uint64

// ParseLSN parses PostgreSQL's text form "X/X": two hexadecimal numbers of one to eight digits.
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("LSN %q is not of the form 0/1A2B3C", s)
	}
	h, errHigh := parseHex(high, 1, 8)
	l, errLow := parseHex(low, 1, 8)
	if errHigh != nil || errLow != nil {
		return 0, fmt.Errorf("LSN %q is not of the form 0/1A2B3C", s)
	}
	return LSN(h<<32 | l), nil
}

// String returns PostgreSQL's text form, for example "0/1A2B3C".
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l))
}

// MarshalJSON writes the text form.
func (l LSN) MarshalJSON() ([]byte, error) { return json.Marshal(l.String()) }

// UnmarshalJSON reads the text form.
func (l *LSN) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := ParseLSN(s)
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// parseHex parses between minDigits and maxDigits hexadecimal digits and nothing else: no sign, no
// prefix, no underscore.
func parseHex(s string, minDigits, maxDigits int) (uint64, error) {
	if len(s) < minDigits || len(s) > maxDigits {
		return 0, fmt.Errorf("%q: want %d to %d hexadecimal digits", s, minDigits, maxDigits)
	}
	for _, c := range []byte(s) {
		if !isHex(c) {
			return 0, fmt.Errorf("%q: not hexadecimal", s)
		}
	}
	return strconv.ParseUint(s, 16, 64)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f'
}
