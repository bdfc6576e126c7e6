package record

// An operation has a name in the versions from `from` to `to`; 0 for no limit.
type operation struct {
	code     uint8
	name     string
	from, to Version
}

// operations has what the identify functions say (access/rmgrdesc/*.c), by resource manager.
var operations = [lastBuiltinRMID + 1][]operation{
	{ // XLOG: xlogdesc.c
		{code: 0x00, name: "CHECKPOINT_SHUTDOWN"},
		{code: 0x10, name: "CHECKPOINT_ONLINE"},
		{code: 0x20, name: "NOOP"},
		{code: 0x30, name: "NEXTOID"},
		{code: 0x40, name: "SWITCH"},
		{code: 0x50, name: "BACKUP_END"},
		{code: 0x60, name: "PARAMETER_CHANGE"},
		{code: 0x70, name: "RESTORE_POINT"},
		{code: 0x80, name: "FPW_CHANGE"},
		{code: 0x90, name: "END_OF_RECOVERY"},
		{code: 0xA0, name: "FPI_FOR_HINT"},
		{code: 0xB0, name: "FPI"},
		{code: 0xD0, name: "OVERWRITE_CONTRECORD"},
		{code: 0xE0, name: "CHECKPOINT_REDO", from: 17},
	},
	{ // Transaction: xactdesc.c
		{code: 0x00, name: "COMMIT"},
		{code: 0x10, name: "PREPARE"},
		{code: 0x20, name: "ABORT"},
		{code: 0x30, name: "COMMIT_PREPARED"},
		{code: 0x40, name: "ABORT_PREPARED"},
		{code: 0x50, name: "ASSIGNMENT"},
		{code: 0x60, name: "INVALIDATION", from: 14},
	},
	{{code: 0x10, name: "CREATE"}, {code: 0x20, name: "TRUNCATE"}},   // Storage: smgrdesc.c
	{{code: 0x00, name: "ZEROPAGE"}, {code: 0x10, name: "TRUNCATE"}}, // CLOG: clogdesc.c
	{ // Database: dbasedesc.c
		{code: 0x00, name: "CREATE", to: 14},
		{code: 0x10, name: "DROP", to: 14},
		{code: 0x00, name: "CREATE_FILE_COPY", from: 15},
		{code: 0x10, name: "CREATE_WAL_LOG", from: 15},
		{code: 0x20, name: "DROP", from: 15},
	},
	{{code: 0x00, name: "CREATE"}, {code: 0x10, name: "DROP"}}, // Tablespace: tblspcdesc.c
	{ // MultiXact: mxactdesc.c
		{code: 0x00, name: "ZERO_OFF_PAGE"},
		{code: 0x10, name: "ZERO_MEM_PAGE"},
		{code: 0x20, name: "CREATE_ID"},
		{code: 0x30, name: "TRUNCATE_ID"},
	},
	{{code: 0x00, name: "UPDATE"}}, // RelMap: relmapdesc.c
	{{code: 0x00, name: "LOCK"}, {code: 0x10, name: "RUNNING_XACTS"}, {code: 0x20, name: "INVALIDATIONS"}}, // Standby: standbydesc.c
	{ // Heap2: heapdesc.c
		{code: 0x00, name: "REWRITE"},
		{code: 0x10, name: "CLEAN", to: 13},
		{code: 0x20, name: "FREEZE_PAGE", to: 13},
		{code: 0x30, name: "CLEANUP_INFO", to: 13},
		{code: 0x10, name: "PRUNE", from: 14, to: 16},
		{code: 0x20, name: "VACUUM", from: 14, to: 16},
		{code: 0x30, name: "FREEZE_PAGE", from: 14, to: 16},
		{code: 0x10, name: "PRUNE_ON_ACCESS", from: 17},
		{code: 0x20, name: "PRUNE_VACUUM_SCAN", from: 17},
		{code: 0x30, name: "PRUNE_VACUUM_CLEANUP", from: 17},
		{code: 0x40, name: "VISIBLE"},
		{code: 0x50, name: "MULTI_INSERT"},
		{code: 0xD0, name: "MULTI_INSERT+INIT"},
		{code: 0x60, name: "LOCK_UPDATED"},
		{code: 0x70, name: "NEW_CID"},
	},
	{ // Heap: heapdesc.c
		{code: 0x00, name: "INSERT"},
		{code: 0x80, name: "INSERT+INIT"},
		{code: 0x10, name: "DELETE"},
		{code: 0x20, name: "UPDATE"},
		{code: 0xA0, name: "UPDATE+INIT"},
		{code: 0x40, name: "HOT_UPDATE"},
		{code: 0xC0, name: "HOT_UPDATE+INIT"},
		{code: 0x30, name: "TRUNCATE"},
		{code: 0x50, name: "HEAP_CONFIRM"},
		{code: 0x60, name: "LOCK"},
		{code: 0x70, name: "INPLACE"},
	},
	{ // Btree: nbtdesc.c
		{code: 0x00, name: "INSERT_LEAF"},
		{code: 0x10, name: "INSERT_UPPER"},
		{code: 0x20, name: "INSERT_META"},
		{code: 0x30, name: "SPLIT_L"},
		{code: 0x40, name: "SPLIT_R"},
		{code: 0x50, name: "INSERT_POST"},
		{code: 0x60, name: "DEDUP"},
		{code: 0x70, name: "DELETE"},
		{code: 0x80, name: "UNLINK_PAGE"},
		{code: 0x90, name: "UNLINK_PAGE_META"},
		{code: 0xA0, name: "NEWROOT"},
		{code: 0xB0, name: "MARK_PAGE_HALFDEAD"},
		{code: 0xC0, name: "VACUUM"},
		{code: 0xD0, name: "REUSE_PAGE"},
		{code: 0xE0, name: "META_CLEANUP"},
	},
	{ // Hash: hashdesc.c
		{code: 0x00, name: "INIT_META_PAGE"},
		{code: 0x10, name: "INIT_BITMAP_PAGE"},
		{code: 0x20, name: "INSERT"},
		{code: 0x30, name: "ADD_OVFL_PAGE"},
		{code: 0x40, name: "SPLIT_ALLOCATE_PAGE"},
		{code: 0x50, name: "SPLIT_PAGE"},
		{code: 0x60, name: "SPLIT_COMPLETE"},
		{code: 0x70, name: "MOVE_PAGE_CONTENTS"},
		{code: 0x80, name: "SQUEEZE_PAGE"},
		{code: 0x90, name: "DELETE"},
		{code: 0xA0, name: "SPLIT_CLEANUP"},
		{code: 0xB0, name: "UPDATE_META_PAGE"},
		{code: 0xC0, name: "VACUUM_ONE_PAGE"},
	},
	{ // Gin: gindesc.c
		{code: 0x10, name: "CREATE_PTREE"},
		{code: 0x20, name: "INSERT"},
		{code: 0x30, name: "SPLIT"},
		{code: 0x40, name: "VACUUM_PAGE"},
		{code: 0x50, name: "DELETE_PAGE"},
		{code: 0x60, name: "UPDATE_META_PAGE"},
		{code: 0x70, name: "INSERT_LISTPAGE"},
		{code: 0x80, name: "DELETE_LISTPAGE"},
		{code: 0x90, name: "VACUUM_DATA_LEAF_PAGE"},
	},
	{ // Gist: gistdesc.c
		{code: 0x00, name: "PAGE_UPDATE"},
		{code: 0x10, name: "DELETE"},
		{code: 0x20, name: "PAGE_REUSE"},
		{code: 0x30, name: "PAGE_SPLIT"},
		{code: 0x60, name: "PAGE_DELETE"},
		{code: 0x70, name: "ASSIGN_LSN"},
	},
	{{code: 0x00, name: "LOG"}}, // Sequence: seqdesc.c
	{ // SPGist: spgdesc.c
		{code: 0x10, name: "ADD_LEAF"},
		{code: 0x20, name: "MOVE_LEAFS"},
		{code: 0x30, name: "ADD_NODE"},
		{code: 0x40, name: "SPLIT_TUPLE"},
		{code: 0x50, name: "PICKSPLIT"},
		{code: 0x60, name: "VACUUM_LEAF"},
		{code: 0x70, name: "VACUUM_ROOT"},
		{code: 0x80, name: "VACUUM_REDIRECT"},
	},
	{ // BRIN: brindesc.c
		{code: 0x00, name: "CREATE_INDEX"},
		{code: 0x10, name: "INSERT"},
		{code: 0x90, name: "INSERT+INIT"},
		{code: 0x20, name: "UPDATE"},
		{code: 0xA0, name: "UPDATE+INIT"},
		{code: 0x30, name: "SAMEPAGE_UPDATE"},
		{code: 0x40, name: "REVMAP_EXTEND"},
		{code: 0x50, name: "DESUMMARIZE"},
	},
	{{code: 0x00, name: "ZEROPAGE"}, {code: 0x10, name: "TRUNCATE"}, {code: 0x20, name: "SETTS", to: 13}}, // CommitTs: committsdesc.c
	{{code: 0x00, name: "SET"}, {code: 0x10, name: "DROP"}},                                               // ReplicationOrigin: replorigindesc.c
	nil,                             // Generic: genericdesc.c has one name for all
	{{code: 0x00, name: "MESSAGE"}}, // LogicalMessage: logicalmsgdesc.c
}
