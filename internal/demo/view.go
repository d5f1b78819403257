package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/tally-kafka/tally/internal/api"
)

const topRows = 8

// frame is what the view shows at a moment.
type frame struct {
	seconds float64
	sent    int
	counted int64
	nodes   []string // a line a node: what it owns and follows
	top     []api.Count
}

// view prints lines that stay, and below them, on a terminal, a block that is drawn again and
// again.
type view struct {
	out io.Writer
	tty bool

	mu    sync.Mutex
	drawn int // lines of the block that stands there now
}

func newView(out io.Writer, tty bool) *view { return &view{out: out, tty: tty} }

// say prints a line that stays.
func (v *view) say(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.erase()
	fmt.Fprintf(v.out, format+"\n", args...)
}

// clear takes the block away.
func (v *view) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.erase()
}

func (v *view) erase() {
	if v.drawn > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA\x1b[J", v.drawn)
		v.drawn = 0
	}
}

func (v *view) draw(f frame) {
	v.mu.Lock()
	defer v.mu.Unlock()
	head := fmt.Sprintf("%5.1f s  sent %6d  counted %6d", f.seconds, f.sent, f.counted)
	if !v.tty {
		fmt.Fprintf(v.out, "%s  %s\n", head, strings.Join(rows(f.top, 3, "%s %s %s"), ", "))
		return
	}
	lines := append([]string{head}, f.nodes...)
	lines = append(lines, rows(f.top, topRows, "    %-10s %-12s %8s")...)
	v.erase()
	fmt.Fprintln(v.out, strings.Join(lines, "\n"))
	v.drawn = len(lines)
}

// rows formats the first n counts: user, word, count.
func rows(top []api.Count, n int, format string) []string {
	var lines []string
	for _, c := range top[:min(n, len(top))] {
		g, count, err := decode(c)
		if err != nil {
			continue // the comparison at the end reports it; the show goes on
		}
		lines = append(lines, fmt.Sprintf(format, g.user, g.word, fmt.Sprint(count)))
	}
	return lines
}

// decode reads a count of the app wordcount.
func decode(c api.Count) (group, int64, error) {
	var parts []string
	if err := json.Unmarshal(c.Group, &parts); err != nil || len(parts) != 2 {
		return group{}, 0, fmt.Errorf("group %s is not a user and a word", c.Group)
	}
	var values struct{ Count *int64 }
	if err := json.Unmarshal(c.Values, &values); err != nil || values.Count == nil {
		return group{}, 0, fmt.Errorf("group %s has no count but %s", c.Group, c.Values)
	}
	return group{parts[0], parts[1]}, *values.Count, nil
}
