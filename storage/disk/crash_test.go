package disk

func runCrashHelper() bool { return false }
