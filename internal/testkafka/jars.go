package testkafka

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Version is the Apache Kafka that runs; pom.xml names the same.
const Version = "4.3.1"

//go:embed pom.xml
var pom []byte

// errNoTools means that this machine cannot run Kafka; a test is left out then, not failed.
var errNoTools = errors.New("no JDK or Maven")

// jars returns the directory of Kafka's jars, fetching them when it is not there yet.
func jars() (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("%w: java is not on the PATH", errNoTools)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	unlock, err := lockCache(cache)
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(cache, "jars")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, fetchJars(cache, dir)
}

// lockCache lets one process fill the cache and the others wait: test packages run as processes
// beside each other.
func lockCache(cache string) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return func() { _ = lock.Close() }, nil
}

// fetchJars fills dir at once or not at all: Maven writes to another directory, which is renamed.
func fetchJars(cache, dir string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("%w: mvn is not on the PATH and %s does not exist", errNoTools, dir)
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	pomFile := filepath.Join(cache, "pom.xml")
	if err := os.WriteFile(pomFile, pom, 0o644); err != nil {
		return err
	}
	cmd := exec.Command(mvn, "-q", "-B", "-f", pomFile, "dependency:copy-dependencies",
		"-DoutputDirectory="+part)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch Apache Kafka %s from Maven Central: %w\n%s", Version, err, tail(out))
	}
	return os.Rename(part, dir)
}

// cacheDir is .cache beside go.mod, or the user's cache when this runs outside the repository.
func cacheDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	name := "kafka-" + Version
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", name), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(user, "tally", name), nil
}

// tail keeps the end of a program's output, where its reason usually is.
func tail(out []byte) []byte {
	const keep = 3000
	if len(out) > keep {
		return out[len(out)-keep:]
	}
	return out
}
