package world

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// TestPressure: what is left behind by the faults, and a lag beyond its bound, is a problem.
func TestPressure(t *testing.T) {
	calm := Pressure{Before: Figures{Rate: 100, Topics: 7, LagMax: 10, GetP99ms: 5, Aside: 1}, LagMax: 100 * lagMost}
	calm.After = calm.Before
	for name, c := range map[string]struct {
		change func(*Pressure)
		says   string
	}{
		"as before":   {func(*Pressure) {}, ""},
		"a lag":       {func(p *Pressure) { p.LagMax++ }, "during the faults up to 6001 events waited"},
		"a directory": {func(p *Pressure) { p.After.Aside++ }, "2 directories lie beside the stores"},
		"a topic":     {func(p *Pressure) { p.After.Topics++ }, "there are 8 topics"},
	} {
		p, said := calm, ""
		c.change(&p)
		p.judge(func(format string, a ...any) { said += fmt.Sprintf(format, a...) })
		if (said == "") != (c.says == "") || !strings.HasPrefix(said, c.says) {
			t.Errorf("%s: it says %q", name, said)
		}
	}
}

// TestAside: what lies beside the stores is found, and the stores are not.
func TestAside(t *testing.T) {
	w := &World{opt: Options{Dir: t.TempDir()}}
	for _, name := range []string{"0", "1", "0.damaged-20260101T000000.000", "1.seeding", "1.checkpoint7"} {
		must(t, os.MkdirAll(filepath.Join(w.opt.Dir, history.DataDir, "a", "state", LocalApp, name), 0o700))
	}
	if got := w.asideOf(); len(got) != 3 {
		t.Errorf("beside the stores are %q", got)
	}
}
