package history

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCopies: of many stores a few are kept, spread over the run, as they were when their nodes
// died.
func TestCopies(t *testing.T) {
	c := Copies{Dir: t.TempDir()}
	from := filepath.Join(t.TempDir(), "state")
	if err := c.Take("a", 1, from); err != nil { // there is none
		t.Fatal(err)
	}
	file := filepath.Join(from, "one", "0", "table")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for start := 2; start <= 100; start++ {
		if err := os.WriteFile(file, []byte{byte(start)}, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.Take("node-a", start, from); err != nil {
			t.Fatal(err)
		}
	}
	var starts []int
	err := ListCopies(c.Dir, func(path, node string, start int) error {
		b, err := os.ReadFile(filepath.Join(path, "one", "0", "table"))
		if err != nil || len(b) != 1 || int(b[0]) != start || node != "node-a" {
			t.Errorf("%s: node %s, start %d has %v: %v", path, node, start, b, err)
		}
		starts = append(starts, start)
		return nil
	})
	slices.Sort(starts)
	if err != nil || len(starts) > copiesMax || len(starts) < copiesMax/2 || starts[0] > 20 || starts[len(starts)-1] < 80 {
		t.Errorf("%v: %v", starts, err)
	}
	for i := range starts[1:] {
		if apart := starts[i+1] - starts[i]; apart < 4 || apart > 32 {
			t.Errorf("%v are not spread", starts)
		}
	}
}

// TestCopiesAreBounded: what is larger than all of them may be together is left out, and what is
// large drives others out.
func TestCopiesAreBounded(t *testing.T) {
	const most = 1 << 20
	c := Copies{Dir: t.TempDir(), most: most}
	from := t.TempDir()
	for start, size := range []int{1 << 10, most / 2, most / 2, most + 1} {
		if err := os.WriteFile(filepath.Join(from, "table"), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.Take("a", start, from); err != nil {
			t.Fatal(err)
		}
		if c.bytes() > most {
			t.Fatalf("%d bytes are kept", c.bytes())
		}
	}
	if len(c.kept) == 0 {
		t.Error("nothing is kept")
	}
}
