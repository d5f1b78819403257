package testkafka

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// archive returns the file in which the JVM finds Kafka's classes as they are in memory (class data
// sharing): with it a broker starts in half the time and CPU. It is made once, by the first process
// that wants it, from a broker that runs for a moment. "" when this JVM makes none, which is slower
// and nothing else.
func archive(lib string) (string, error) {
	file, err := archiveFile(lib)
	if err != nil {
		return "", err
	}
	unlock, err := lockCache(filepath.Dir(lib))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(file); err != nil {
		part := file + ".part"
		if makeArchive(lib, part) != nil {
			err = os.WriteFile(part, nil, 0o644) // nobody need try again
		} else {
			err = nil
		}
		if err == nil {
			err = os.Rename(part, file)
		}
		if err != nil {
			return "", err
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() == 0 {
		return "", err
	}
	return file, nil
}

// archiveFile is a name for the archive of this JVM: one of another JVM would be left unused.
func archiveFile(lib string) (string, error) {
	java, err := exec.LookPath("java")
	if err == nil {
		java, err = filepath.EvalSymlinks(java)
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(java)
	if err != nil {
		return "", err
	}
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, java, info.Size(), info.ModTime())
	return filepath.Join(filepath.Dir(lib), fmt.Sprintf("classes-%08x.jsa", h.Sum32())), nil
}

// makeArchive runs a broker that writes the archive when it is told to stop.
func makeArchive(lib, file string) error {
	opt := Options{Nodes: 1, JVM: []string{"-XX:ArchiveClassesAtExit=" + file}}
	c := &Cluster{opt: opt, jars: lib, id: newUUID()}
	defer c.Close()
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.format(); err != nil {
		return err
	}
	n := c.nodes[0]
	if err := c.start(n); err != nil {
		return err
	}
	if err := c.awaitReady(context.Background(), c.nodes); err != nil {
		return err
	}
	n.run.signal(syscall.SIGTERM)
	select {
	case <-n.run.done:
	case <-time.After(readyWait):
		return fmt.Errorf("the broker did not end")
	}
	_, err := os.Stat(file)
	return err
}
