package history

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLines: what was written comes back, long lines too, and a line that was cut off does not.
func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), HistoryFile)
	out, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 3<<20)
	for _, text := range []string{"a", long, "b"} {
		if err := out.Write(Event{Kind: KindAudit, Audit: &Audit{Text: text}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"kind":"aud`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	var got []string
	err = Load(path, func(e Event) error {
		got = append(got, e.Audit.Text)
		return nil
	})
	if err != nil || len(got) != 3 || got[0] != "a" || got[1] != long || got[2] != "b" {
		t.Errorf("%d lines came back (%v)", len(got), err)
	}
}
