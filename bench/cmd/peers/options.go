package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options say what to run. The flags of fromEnv are also environment variables of their names in
// capitals, which is how make passes them.
type options struct {
	works    []string
	peers    string
	scale    float64
	reps     int
	budget   time.Duration
	budgeted bool // somebody said the budget
	out      string
	results  string // where results are kept, to write the report again
	from     string // write the report of these results, and run nothing
	cache    string
	tally    string // the binary; "" builds it
}

// defaultWorks are those of the first page of the report. allWorks is the order of importance, so
// that a run that is cut short has what matters most, but for the work of three brokers, which is
// run when the one broker has ended.
var (
	defaultWorks = []string{"a", "c", "d", "f", "r"}
	allWorks     = []string{"a", "c", "d", "f", "w", "b", "e", "g", "h", "j", "k", "i", "r"}
)

var fromEnv = []string{"work", "peers", "scale", "reps", "budget"}

func parseOptions(args []string, env func(string) string) (options, error) {
	var o options
	fl := flag.NewFlagSet("peers", flag.ContinueOnError)
	fl.SetOutput(io.Discard)
	work := fl.String("work", strings.Join(defaultWorks, ","), "works, from a to k, r (three brokers) and w (two stages), or all")
	fl.StringVar(&o.peers, "peers", "", "peers beside tally, such as kafka-streams,limit; default: all")
	fl.Float64Var(&o.scale, "scale", 1, "multiplies events, groups and seconds")
	fl.IntVar(&o.reps, "reps", 3, "runs of each row")
	fl.DurationVar(&o.budget, "budget", 28*time.Minute, "such as 28m: a row is run again only while this is not used up, and real-time mode is left out at 100 ms; 0: no bound, as where works are chosen and it is not said")
	fl.StringVar(&o.out, "out", "", "the report; works that it has and this run has not are kept; default: docs/performance.md at scale 1 with all peers, else .cache/peers/performance.md")
	fl.StringVar(&o.from, "from", "", "write the report of a results.json again to --out, and run nothing")
	fl.StringVar(&o.tally, "tally", "", "a built tally; default: it is built")
	if err := fl.Parse(args); err != nil {
		var usage strings.Builder
		fl.SetOutput(&usage)
		fl.PrintDefaults()
		return o, fmt.Errorf("%w\n%s", err, &usage)
	}
	if fl.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag: works are chosen by --work a,c, peers by --peers kafka-streams,limit", fl.Arg(0))
	}
	given := map[string]bool{}
	fl.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range fromEnv {
		if v := env(strings.ToUpper(name)); v != "" && !given[name] {
			if err := fl.Set(name, v); err != nil {
				return o, fmt.Errorf("%s=%s: %w (--%s: %s)", strings.ToUpper(name), v, err, name, fl.Lookup(name).Usage)
			}
			given[name] = true
		}
	}
	o.budgeted = given["budget"]
	return o, o.complete(*work)
}

func (o *options) complete(work string) error {
	if work == "all" {
		work = joined(allWorks)
	}
	o.works = nil
	for _, w := range strings.Split(work, ",") {
		if !slices.Contains(allWorks, w) {
			return fmt.Errorf("there is no work %q: say some of %s, or all", w, joined(allWorks))
		}
		if !slices.Contains(o.works, w) { // twice it would be two tables of one name
			o.works = append(o.works, w)
		}
	}
	if err := newField(*o, "").known(); err != nil {
		return err
	}
	if !slices.Equal(o.works, defaultWorks) && !o.budgeted {
		o.budget = 0
	}
	if o.scale <= 0 || o.scale > 100 || o.reps < 1 || o.reps > 100 {
		return fmt.Errorf("scale %s and reps %d: say more than 0, up to 100", strconv.FormatFloat(o.scale, 'g', -1, 64), o.reps)
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	o.cache = filepath.Join(root, ".cache", "peers")
	o.results = filepath.Join(o.cache, "results.json")
	if o.out == "" && o.from != "" {
		return errors.New("--from needs --out FILE: what these results are of is not known before they are read")
	}
	if o.out == "" {
		o.out = filepath.Join(o.cache, "performance.md")
		if o.scale == 1 && o.peers == "" {
			o.out = filepath.Join(root, "docs", "performance.md")
		}
	}
	return nil
}

// moduleRoot is the folder of go.mod, here or above.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod in %s or above: run it in tally's source", dir)
		}
	}
}
