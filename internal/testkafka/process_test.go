package testkafka

import (
	"os/exec"
	"syscall"
	"testing"
)

// TestStartChild: what a terminal sends to the group of this process does not come to the child.
func TestStartChild(t *testing.T) {
	cmd, done := exec.Command("cat"), make(chan struct{})
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, StartChild(cmd, done))
	if group, err := syscall.Getpgid(cmd.Process.Pid); err != nil || group != cmd.Process.Pid || group == syscall.Getpgrp() {
		t.Errorf("the child %d is in the group %d, and this process in %d (%v)", cmd.Process.Pid, group, syscall.Getpgrp(), err)
	}
	must(t, in.Close())
	<-done
}
