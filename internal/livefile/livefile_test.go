package livefile

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// A changed file counts at the first use after a second; a broken one never does, and is said once.
func TestChangedFiles(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	sm := seam.World()
	sm.Now = func() time.Time { return now }
	path := filepath.Join(t.TempDir(), "f")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reads := 0
	read := func() (string, error) {
		reads++
		text, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(text), "bad") {
			err = errors.New("it is bad")
		}
		return string(text), err
	}
	var log bytes.Buffer
	opt := Options{Seam: sm, Log: slog.New(slog.NewTextHandler(&log, nil))}
	write("bad")
	if _, err := Open(opt, read, path); err == nil {
		t.Fatal("a bad file was taken at the start")
	}
	write("first")
	v, err := Open(opt, read, path)
	if err != nil {
		t.Fatal(err)
	}
	reads = 0
	for _, step := range []struct {
		write string // "": nothing, "-": remove it
		after time.Duration
		want  string
		reads int
	}{
		{"", time.Hour, "first", 0},
		{"second!", 999 * time.Millisecond, "first", 0},
		{"", time.Millisecond, "second!", 1},
		{"", time.Minute, "second!", 1},
		{"bad one", time.Second, "second!", 2},
		{"", time.Minute, "second!", 3}, // what mends it may change nothing that is seen, such as a right
		{"-", time.Second, "second!", 4},
		{"third", time.Second, "third", 5},
		{"", time.Minute, "third", 5}, // not read again while nothing changes
	} {
		switch step.write {
		case "":
		case "-":
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		default:
			write(step.write)
		}
		now = now.Add(step.after)
		if got := v.Get(); got != step.want || reads != step.reads {
			t.Errorf("%+v: %q after %d reads", step, got, reads)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 2 || !strings.Contains(log.String(), "it is bad") {
		t.Errorf("%d warnings, not 2:\n%s", n, log.String())
	}
}
