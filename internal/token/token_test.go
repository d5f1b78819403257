package token

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

func TestTokens(t *testing.T) {
	now := time.UnixMilli(1_795_393_111_000)
	sm := seam.World()
	sm.Now = func() time.Time { return now }
	path := filepath.Join(t.TempDir(), "tokens.json")
	var log bytes.Buffer
	opt := Options{Seam: sm, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if _, err := Open(path, opt); err == nil || !strings.Contains(err.Error(), "tally token create NAME --tokens "+path) {
		t.Fatalf("%v", err)
	}
	reader, _, err := Create(path, "reader", Read, 0, sm)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	admin, entry, err := Create(path, "ann@example", Admin, time.Hour, sm)
	if err != nil || entry.ExpiresMs != now.Add(time.Hour).UnixMilli() {
		t.Fatalf("%+v %v", entry, err)
	}
	good := func(token, name string) {
		t.Helper()
		if e, ok := f.Check(token); (name != "") != ok || e.Name != name {
			t.Errorf("%+v %v, not %q", e, ok, name)
		}
	}
	good(reader, "reader")
	good(admin, "") // the file is looked at in a second
	now = now.Add(time.Second)
	good(admin, "ann@example")
	for _, bad := range []string{"", "x", reader[:len(reader)-1], reader + "x", strings.ToUpper(reader), " " + reader} {
		good(bad, "")
	}
	now = now.Add(time.Hour)
	good(admin, "")
	if err := Revoke(path, "reader"); err != nil {
		t.Fatal(err)
	}
	good(reader, "reader")
	now = now.Add(time.Second)
	good(reader, "")
	if err := Revoke(path, "reader"); err == nil || !strings.Contains(err.Error(), "tally token list") {
		t.Errorf("%v", err)
	}
	text, _ := os.ReadFile(path)
	info, _ := os.Stat(path)
	if strings.Contains(string(text), admin) || strings.Contains(log.String(), prefix) || info.Mode().Perm() != 0o600 {
		t.Errorf("a token at rest, or in the log, or for all to read (%v)", info.Mode())
	}
}

// Nothing is hashed that cannot be a token: else a header of 250 KB would be, once for each entry.
func TestNoTokenIsNotHashed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	good, _, err := Create(path, "a", Read, 0, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "c"} {
		if _, _, err := Create(path, name, Read, 0, seam.World()); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Open(path, Options{Seam: seam.World()})
	if err != nil {
		t.Fatal(err)
	}
	hashed := 0
	f.hash = func(salt []byte, token string) []byte { hashed++; return hash(salt, token) }
	for _, c := range []struct {
		token  string
		ok     bool
		hashed int
	}{
		{"", false, 0}, {prefix, false, 0}, {good[:len(good)-1], false, 0}, {good + "x", false, 0}, {strings.Repeat("x", 250<<10), false, 0},
		{prefix + strings.Repeat("x", 250<<10), false, 0}, {"Tally_" + good[len(prefix):], false, 0},
		{good[:len(good)-1] + "!", false, 3}, {good, true, 3},
	} {
		hashed = 0
		if _, ok := f.Check(c.token); ok != c.ok || hashed != c.hashed {
			t.Errorf("%.20s (%d bytes): %v, and %d hashes", c.token, len(c.token), ok, hashed)
		}
	}
}

func TestEachTokenIsAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	seen := map[string]bool{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range strings.Fields("a b c d e f g h") {
		all.Go(func() { // at once: none is lost
			token, e, err := Create(path, name, Read, 0, seam.World())
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[token] || seen[string(e.Salt)] || len(token) != len(prefix)+43 {
				t.Errorf("%s %+v %v", token, e, err)
			}
			seen[token], seen[string(e.Salt)] = true, true
		})
	}
	all.Wait()
	if entries, err := List(path); err != nil || len(entries) != 8 {
		t.Fatalf("%d tokens, not 8: %v", len(entries), err)
	}
	if _, _, err := Create(path, "a", Read, 0, seam.World()); err == nil || !strings.Contains(err.Error(), "has a token a already") {
		t.Errorf("%v", err)
	}
}

func TestBadFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	_, e, err := Create(path, "a", Read, 0, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	many := contents{format, nil}
	for range entriesMax + 1 {
		many.Tokens = append(many.Tokens, e)
	}
	noHash, noScope := e, e
	noHash.SHA256, noScope.Scope = nil, "root"
	for say, c := range map[string]any{
		"format 2": contents{2, nil}, "at most 256": many, "two tokens a": contents{format, []Entry{e, e}},
		"has no hash": contents{format, []Entry{noHash}}, "say read or admin": contents{format, []Entry{noScope}},
		"is no token file": "x", "format 0": map[string]int{},
	} {
		text, _ := json.Marshal(c)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := List(path); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%v, not %q", err, say)
		}
		if _, _, err := Create(path, "b", Read, 0, seam.World()); err == nil {
			t.Errorf("%s: a token was added", say)
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, text) {
			t.Errorf("%s: the file was changed", say)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		has, needs Scope
		ok         bool
	}{{Read, Read, true}, {Read, Admin, false}, {Admin, Read, true}, {Admin, Admin, true}, {"", Read, false}, {"", "", false}} {
		if c.has.Allows(c.needs) != c.ok {
			t.Errorf("%+v", c)
		}
	}
}
