package seldom

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Of each kind there is a line every ten seconds, with the number of those that have none; what a
// line says is asked for only where there is one.
func TestSay(t *testing.T) {
	now := time.UnixMilli(1_795_393_111_000)
	sm := seam.World()
	sm.Now = func() time.Time { return now }
	var out bytes.Buffer
	l := New(sm, slog.New(slog.NewTextHandler(&out, nil)))
	asked := 0
	say := func(of string) {
		l.Say(slog.LevelWarn, of, "refused", func() []any { asked++; return []any{"reason", of} })
	}
	for range 1000 {
		say("a")
	}
	say("b")
	now = now.Add(Every - 1)
	say("a")
	now = now.Add(1)
	say("a")
	say("a")
	now = now.Add(time.Hour)
	say("b")
	l.Say(slog.LevelDebug, "c", "not wanted", func() []any { asked++; return nil })
	var got []string
	for line := range strings.Lines(out.String()) {
		_, said, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		got = append(got, said)
	}
	want := "refused reason=a|refused reason=b|refused reason=a left_out=1000|refused reason=b"
	if all := strings.Join(got, "|"); all != want || asked != 4 {
		t.Errorf("asked %d times; got\n%s\nwant\n%s", asked, all, want)
	}
	if len(l.kinds) != 2 {
		t.Errorf("%d kinds are kept", len(l.kinds))
	}
}
