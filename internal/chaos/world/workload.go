package world

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/kafka"
)

// The topics' partitions and the apps' lanes: some lanes have two partitions, some one.
const (
	Partitions = 6
	Lanes      = 4
)

// The apps' names.
const (
	LocalApp   = "chaos-local"
	WordsApp   = "chaos-words"
	PassingApp = "chaos-passing" // submitted and deleted as the schedule says
)

// Apps are those that run all the time.
var Apps = []string{LocalApp, WordsApp}

func appOf(name, input, counts string) history.App {
	a := history.App{
		Name: name, Input: input, Output: name + "-out", Changelog: name + ".changelog", Dead: name + ".dead",
		ConsumerGroup: name, Partitions: Partitions, Lanes: Lanes, Local: true,
	}
	a.Spec = fmt.Sprintf("app: %s\noutput: {topic: %s, emit: latest}\non_error: dead\nlanes: %d\n%s", name, a.Output, Lanes,
		fmt.Sprintf(counts, input))
	for k := range Lanes {
		a.TransactionalIDs = append(a.TransactionalIDs, fmt.Sprintf("%s.lane-%d", name, k))
	}
	return a
}

const (
	sumsByKey    = "input: {topic: %s, format: json}\ngroup: [key]\naggregates: {count: count, total: {sum: amount}}\n"
	wordsOfItems = "input: {topic: %s, format: text}\nsplit: words\ngroup: [item]\n"
)

// theApps are the apps of a run: one that sums by key where the events lie, one that counts words
// through the repartition stage, and one that comes and goes.
func theApps() []history.App {
	local := appOf(LocalApp, LocalApp+"-in", sumsByKey)
	words := appOf(WordsApp, WordsApp+"-in", wordsOfItems)
	words.Local, words.Repartition = false, WordsApp+".repartition"
	passing := appOf(PassingApp, local.Input, sumsByKey)
	passing.Passing = true
	return []history.App{local, words, passing}
}

// event is one input event, and what it brings.
type event struct {
	seq       int64
	partition int32
	key       string
	value     []byte
	amount    int64
	words     []string
	dead      bool // it cannot be read: a dead letter, which counts nowhere
}

func (e event) record(offset int64) history.Record {
	return history.Record{Seq: e.seq, Partition: e.partition, Offset: offset, Key: e.key, Amount: e.amount, Words: e.words,
		Dead: e.dead}
}

// workload makes an app's events one after another, and keeps their right answer.
type workload struct {
	app  history.App
	keys int
	rand *rand.Rand
	next int64

	mu       sync.Mutex
	counters map[string]*counter // by key or word
	asked    []string            // keys or words that have been sent, for the readers
}

type counter struct {
	partition  int32 // -1: everywhere
	count      int64
	total      int64
	increments []int64
}

const (
	keysUsual = 1200
	keysHot   = 20
	wordsAll  = 3000
	wordsHot  = 30
	deadEach  = 101 // every so many events one cannot be read
)

func newWorkload(app history.App, seed uint64, keys int) *workload {
	stream := uint64(1)
	if !app.Local {
		stream = 2
	}
	return &workload{app: app, keys: keys, rand: rand.New(rand.NewPCG(seed, stream)), counters: map[string]*counter{}}
}

// event makes the next one.
func (l *workload) event() event {
	e := event{seq: l.next, key: fmt.Sprintf("user-%04d", l.skewed(keysHot, l.keys))}
	l.next++
	e.partition = kafka.PartitionMurmur2([]byte(e.key), Partitions)
	e.dead = e.seq%deadEach == deadEach-1
	switch {
	case l.app.Local:
		e.amount = int64(l.rand.IntN(1501) - 500)
		e.value = fmt.Appendf(nil, `{"amount": %d}`, e.amount)
	default:
		for range 1 + l.rand.IntN(4) {
			e.words = append(e.words, fmt.Sprintf("word%04d", l.skewed(wordsHot, wordsAll)))
		}
		e.value = []byte(strings.Join(e.words, " "))
	}
	if e.dead {
		e.value, e.amount, e.words = append(e.value[:len(e.value)-1], 0xff), 0, nil
		return e
	}
	l.count(e)
	return e
}

// skewed draws one of the first few as often as one of all.
func (l *workload) skewed(hot, all int) int {
	if l.rand.IntN(2) == 0 {
		return l.rand.IntN(hot)
	}
	return l.rand.IntN(all)
}

func (l *workload) count(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.app.Local {
		c := l.counter(e.key)
		c.partition = e.partition
		c.count++
		c.total += e.amount
		c.increments = append(c.increments, e.amount)
		return
	}
	for _, w := range e.words {
		c := l.counter(w)
		c.partition = -1
		c.count++
	}
}

func (l *workload) counter(name string) *counter {
	c := l.counters[name]
	if c == nil {
		c = &counter{}
		l.counters[name] = c
		l.asked = append(l.asked, name)
	}
	return c
}

// group is a counter that has been sent, by chance; "" when there is none yet.
func (l *workload) group(r *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asked) == 0 {
		return ""
	}
	n := len(l.asked)
	if r.IntN(2) == 0 {
		n = min(n, keysHot)
	}
	return groupOf(l.asked[r.IntN(n)])
}

// groups is how many counters there are.
func (l *workload) groups() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.counters)
}

func groupOf(part string) string {
	text, err := json.Marshal([]string{part})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// writeAnswers writes every counter, sorted by name.
func (l *workload) writeAnswers(out *history.Lines) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.counters)) {
		c := l.counters[name]
		a := history.Answer{
			App: l.app.Name, Group: groupOf(name), Partition: c.partition, Final: history.Values{Count: c.count, Total: c.total},
			Increments: c.increments,
		}
		if err := out.Write(a); err != nil {
			return err
		}
	}
	return nil
}
