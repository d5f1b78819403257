package check

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// The ten checks, by their numbers in a report.
const (
	Rising      = 1  // per counter, the outputs rise and end at the answer
	Mapped      = 2  // outputs are those of the inputs below the committed position, and all of them
	Whole       = 3  // what a transaction has written is there all or none
	Offsets     = 4  // committed offsets never fall
	Stores      = 5  // a store is the changelog folded up to its position
	Epochs      = 6  // epochs never fall, and each has one writer
	Reads       = 7  // answers are committed, never go back, and say truly how old they are
	Ownership   = 8  // who owned a lane is linearizable
	Quiet       = 9  // after the last fault nothing waits and nothing is open
	Audit       = 10 // tally's own recount agrees
	checksCount = 10
)

var says = [checksCount + 1]string{
	Rising:    "outputs rise strictly and end at the answer",
	Mapped:    "outputs are those of the input up to the position, no more and no less",
	Whole:     "a transaction is there all or none",
	Offsets:   "committed offsets never fall",
	Stores:    "a store is the changelog folded up to its position",
	Epochs:    "epochs never fall, one writer each",
	Reads:     "answers are committed, never go back, say truly how old they are",
	Ownership: "ownership is linearizable",
	Quiet:     "after the last fault nothing waits, nothing is open",
	Audit:     "tally audit is exact",
}

// A Check is the outcome of one of the ten.
type Check struct {
	Number   int      `json:"number"`
	Says     string   `json:"says"`
	Examined []Amount `json:"examined"` // how much it has looked at
	Failures int      `json:"failures"`
	// First is when the earliest of them came that has a time.
	First time.Time `json:"first,omitzero"`
	// Examples are the first failures that were found.
	Examples []Difference `json:"examples,omitempty"`
	// Undecided says what could not be judged, and why: that is no failure, and no proof.
	Undecided []string `json:"undecided,omitempty"`
	// UndecidedOf is how much that was, by what it is a part of; what has no size is not in it.
	UndecidedOf []Amount `json:"undecided_of,omitempty"`
	// Excused is how much of what was looked at a fault outside of the product may explain.
	Excused []Excuse `json:"excused,omitempty"`
	// Asked is what was asked of the nodes, and how much of that was answered.
	Asked []Asked `json:"asked,omitempty"`
	// Notes say how it has looked.
	Notes []string `json:"notes,omitempty"`
	// Unseen is what the check has to look at, and of which there was nothing.
	Unseen []string `json:"unseen,omitempty"`

	nowMs *int64 // the report's
}

// Amount is how many of something a check has looked at.
type Amount struct {
	What  string `json:"what"`
	Count int64  `json:"count"`
}

// Excuse is how many of something a check has not held against the product, and why; they are not
// among those that it has examined.
type Excuse struct {
	Amount
	Why string `json:"why"`
}

// Asked is how many questions of a kind there were; those that were not answered have failed.
// Nobody is how many more there were of nodes that did not run all the while: they ask nobody.
type Asked struct {
	What     string `json:"what"`
	Asked    int64  `json:"asked"`
	Answered int64  `json:"answered"`
	Nobody   int64  `json:"nobody,omitzero"`
}

// askedFew is of how many questions of a kind it says nothing how many were answered.
const askedFew = 20

// seldom tells whether less than half of the questions of a kind were answered. Faults keep many
// from an answer, and the end of a run keeps none: of all kinds, in runs of 75 s and more, 80% were
// answered at least, and in runs of minutes 95%.
func (a *Asked) seldom() bool { return a.Asked > askedFew && 2*a.Answered < a.Asked }

// Examined is the sum of what the check has looked at.
func (c *Check) examined() (n int64) {
	for _, a := range c.Examined {
		n += a.Count
	}
	return n
}

const (
	examplesMax  = 20
	undecidedMax = 5
)

func (c *Check) saw(n int64, what string) { c.Examined = add(c.Examined, n, what) }

func add(to []Amount, n int64, what string) []Amount {
	for i := range to {
		if to[i].What == what {
			to[i].Count += n
			return to
		}
	}
	return append(to, Amount{what, n})
}

func (c *Check) undecided(format string, args ...any) {
	if len(c.Undecided) < undecidedMax {
		c.Undecided = append(c.Undecided, fmt.Sprintf(format, args...))
	}
}

// undecidedOf is the same of n things that could not be judged, out of those that Examined has
// under that name, or under that name and a role.
func (c *Check) undecidedOf(n int64, of, format string, args ...any) {
	c.undecided(format, args...)
	c.UndecidedOf = add(c.UndecidedOf, n, of)
}

// excusedOf notes that of n things of a kind nothing can be said, because of a fault.
func (c *Check) excusedOf(n int64, of, why string) {
	for i := range c.Excused {
		if e := &c.Excused[i]; e.What == of && e.Why == why {
			e.Count += n
			return
		}
	}
	c.Excused = append(c.Excused, Excuse{Amount{of, n}, why})
}

// asked is how many of something there were, with those that are excused.
func (c *Check) asked(of string) (n int64) {
	n = c.seen(of)
	for _, e := range c.Excused {
		if e.What == of {
			n += e.Count
		}
	}
	return n
}

// excuses are those that are excused, by kind.
func (c *Check) excuses() (all []Amount) {
	for _, e := range c.Excused {
		all = add(all, e.Count, e.What)
	}
	return all
}

// ask notes a question.
func (c *Check) ask(what string, answered bool) {
	a := c.questions(what)
	if a.Asked++; answered {
		a.Answered++
	}
}

func (c *Check) questions(what string) *Asked {
	i := slices.IndexFunc(c.Asked, func(a Asked) bool { return a.What == what })
	if i < 0 {
		i, c.Asked = len(c.Asked), append(c.Asked, Asked{What: what})
	}
	return &c.Asked[i]
}

// seen is how many of something there were.
func (c *Check) seen(of string) (n int64) {
	for _, a := range c.Examined {
		if a.What == of || strings.HasPrefix(a.What, of+" as ") {
			n += a.Count
		}
	}
	return n
}

// A check that leaves more than so many things undecided, and more than one of so many, has proved
// too little. A few there may be in a short run: what one gap in a log leaves open. Of opened
// stores there are few, faults seek out those that are on their way through a changelog, and one
// loss is that of all copies of a task: at least half has to be decided.
const (
	undecidedFew    = 10
	undecidedOne    = 100
	undecidedStores = 2
	excusedPercent  = 80 // of a kind; in 12,000 schedules of 75 s and more it was 69 at most
)

// Doubtful tells whether the check has left so much undecided that it has proved too little. All of
// a kind is too much, however few there are, unless it is a single one. Nor may faults excuse most
// of what is of a kind, or most questions of a kind have no answer.
func (c *Check) Doubtful() bool {
	if slices.ContainsFunc(c.Asked, func(a Asked) bool { return a.seldom() }) {
		return true
	}
	if slices.ContainsFunc(c.excuses(), func(a Amount) bool { return a.Count > undecidedFew && a.Count*100 > excusedPercent*c.asked(a.What) }) {
		return true
	}
	return slices.ContainsFunc(c.UndecidedOf, func(a Amount) bool {
		one := int64(undecidedOne)
		if a.What == killedStores || a.What == openedStores {
			one = undecidedStores
		}
		all := c.seen(a.What)
		return a.Count > 1 && a.Count >= all || a.Count > undecidedFew && a.Count*one > all
	})
}

// Report is what the checks say of a run.
type Report struct {
	Seed   uint64  `json:"seed"`
	Events int64   `json:"events"` // of input
	Groups int64   `json:"groups"`
	Checks []Check `json:"checks"`
	Cells  Cells   `json:"cells"`

	nowMs int64 // see by
}

func newReport(seed uint64) *Report {
	r := &Report{Seed: seed}
	for n := 1; n <= checksCount; n++ {
		r.Checks = append(r.Checks, Check{Number: n, Says: says[n], Examined: []Amount{}, nowMs: &r.nowMs})
	}
	return r
}

// promised is what each check has to look at.
var promised = [checksCount + 1][]string{
	Rising:    {"counters with an answer", "outputs"},
	Mapped:    {"transactions", "events", "outputs", "dead letters"},
	Whole:     {"parts of transactions", "positions with their offsets"},
	Offsets:   {"commits of an offset"},
	Stores:    {"digests in position records", "stores of owners, by a scan", "stores of standbys, by a scan", openedStores},
	Epochs:    {"position records and barriers", "epochs", "transactions behind each other"},
	Ownership: {"answers as owner", "owners in statuses", "epochs with commits"},
	Quiet:     {"partitions"},
	Audit:     {"apps", "events"},
	Reads: {
		"gets", "tops", "scans", "answers of all partitions", "parts of answers as owner", "parts of answers as standby",
		behindCommit, behindRequest, "answers of one owner after another", "answers to a token", "answers after an event", "ages",
		lastQuestions,
	},
}

// promisedTwice is what there is beside that with an app of two stages.
var promisedTwice = map[int][]string{
	Mapped: {"partials", "transactions of a first stage"},
	Reads:  {"ages through two stages", "answers after an event, through two stages"},
}

// noteUnseen names what was promised and not seen.
func (r *Report) noteUnseen(run *Run) {
	twice := slices.ContainsFunc(run.Apps, func(a history.App) bool { return !a.Passing && a.Repartition != "" })
	for i := range r.Checks {
		c := &r.Checks[i]
		what := promised[c.Number]
		if twice {
			what = slices.Concat(what, promisedTwice[c.Number])
		}
		for _, w := range what {
			if !slices.ContainsFunc(c.Examined, func(a Amount) bool { return a.What == w && a.Count > 0 }) {
				c.Unseen = append(c.Unseen, w)
			}
		}
	}
}

// Of gives a check by its number.
func (r *Report) Of(number int) *Check { return &r.Checks[number-1] }

// Failed tells whether a check found a failure.
func (r *Report) Failed() bool {
	for i := range r.Checks {
		if r.Checks[i].Failures > 0 {
			return true
		}
	}
	return false
}

// Proved tells whether every check has looked at something, found no failure, left nothing
// undecided, and excused not most of a kind.
func (r *Report) Proved() bool {
	for i := range r.Checks {
		c := &r.Checks[i]
		if c.Failures > 0 || len(c.Undecided) > 0 || c.Doubtful() || c.examined() == 0 {
			return false
		}
	}
	return true
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d events, %d groups\n\n", r.Seed, r.Events, r.Groups)
	for i := range r.Checks {
		r.Checks[i].write(&b)
	}
	r.Cells.write(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Check) write(b *strings.Builder) {
	word := "ok"
	switch {
	case c.Failures > 0:
		word = "FAILED"
	case c.examined() == 0:
		word = "nothing seen"
	case len(c.Undecided) > 0 || c.Doubtful():
		word = "undecided"
	}
	amounts := make([]string, len(c.Examined))
	for i, a := range c.Examined {
		amounts[i] = fmt.Sprintf("%d %s", a.Count, a.What)
	}
	fmt.Fprintf(b, "%2d  %-12s  %s\n      %s\n", c.Number, word, c.Says, strings.Join(amounts, ", "))
	for _, a := range c.Asked {
		few := ""
		if a.seldom() {
			few = ": too few answers"
		}
		nobody := ""
		if a.Nobody > 0 {
			nobody = fmt.Sprintf(", and %d of nodes that did not run", a.Nobody)
		}
		fmt.Fprintf(b, "      . %s: %d asked, %d answered, %d failed%s%s\n", a.What, a.Asked, a.Answered, a.Asked-a.Answered, nobody, few)
	}
	for _, n := range c.Notes {
		fmt.Fprintf(b, "      . %s\n", n)
	}
	for _, e := range c.Examples {
		fmt.Fprintf(b, "      - %s\n", e.Says)
	}
	if more := c.Failures - len(c.Examples); more > 0 {
		fmt.Fprintf(b, "      - and %d more\n", more)
	}
	for _, u := range c.Undecided {
		fmt.Fprintf(b, "      ? %s\n", u)
	}
	for _, a := range c.UndecidedOf {
		fmt.Fprintf(b, "      ? all in all %d of %d %s\n", a.Count, c.seen(a.What), a.What)
	}
	for _, e := range c.Excused {
		fmt.Fprintf(b, "      ~ not judged: %d of %d %s, %s\n", e.Count, c.asked(e.What), e.What, e.Why)
	}
	if len(c.Unseen) > 0 && c.examined() > 0 {
		fmt.Fprintf(b, "      ! nothing seen: %s\n", strings.Join(c.Unseen, ", "))
	}
}
