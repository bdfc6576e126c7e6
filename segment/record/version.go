package record

// A Version is a major version of PostgreSQL, 13 to 18. The page magic tells it; what records hold depends on it.
type Version int

// versionOf translates XLOG_PAGE_MAGIC (access/xlog_internal.h); 0 for one that is not known.
func versionOf(magic uint16) Version {
	switch magic {
	case magic13:
		return 13
	case magic14:
		return 14
	case magic15:
		return 15
	case magic16:
		return 16
	case magic17:
		return 17
	case magic18:
		return 18
	}
	return 0
}
