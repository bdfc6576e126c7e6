package segment

import (
	"encoding/json"
	"fmt"
)

// A BackupID names a base backup: the lineage it was taken on, the LSN where its recovery begins, and a token that tells
// apart backups with the same beginning. Its text form sorts by time within a lineage.
type BackupID struct {
	Lineage Lineage
	Start   LSN
	Token   uint16 // random
}

// backupIDSize is the length of the text form: lineage, 16 and 4 hexadecimal digits.
const backupIDSize = 17 + 1 + 16 + 1 + 4

// ParseBackupID parses the form String writes.
func ParseBackupID(s string) (BackupID, error) {
	bad := fmt.Errorf("backup %q is not of the form 00000002-5f3a91c0-0000000003000028-1a2b", s)
	if len(s) != backupIDSize || s[17] != '-' || s[34] != '-' {
		return BackupID{}, bad
	}
	l, errLineage := ParseLineage(s[:17])
	start, errStart := parseHex(s[18:34], 16, 16)
	token, errToken := parseHex(s[35:], 4, 4)
	id := BackupID{Lineage: l, Start: LSN(start), Token: uint16(token)}
	if errLineage != nil || errStart != nil || errToken != nil || id.String() != s {
		return BackupID{}, bad
	}
	return id, nil
}

// String returns lineage, start and token, for example "00000001-00000000-0000000002000028-1a2b".
func (b BackupID) String() string {
	return fmt.Sprintf("%s-%016x-%04x", b.Lineage, uint64(b.Start), b.Token)
}

// MarshalJSON writes the form of String.
func (b BackupID) MarshalJSON() ([]byte, error) { return json.Marshal(b.String()) }

// UnmarshalJSON reads the form of String.
func (b *BackupID) UnmarshalJSON(p []byte) error {
	var s string
	if err := json.Unmarshal(p, &s); err != nil {
		return err
	}
	v, err := ParseBackupID(s)
	if err != nil {
		return err
	}
	*b = v
	return nil
}
