package restore

import "syscall"

// dieWithParent makes the kernel kill the process when we are gone, however that happened.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
