package plan

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tally-kafka/tally/internal/step"
)

// Options say what there is to break.
type Options struct {
	Nodes    []string      // that run from the beginning
	Spare    []string      // that can join
	Apps     []string      // with their lanes numbered from 0
	Lanes    int           // of each app
	Brokers  int           // 0: none may be broken
	Spacing  time.Duration // between two faults, on average; default 3.5 s, and 2.4 s in an even deck
	Settling time.Duration // before the first fault; default 3 s
	Quiet    time.Duration // at the end; default 30 s
	Kinds    []Kind        // that may come; nil: all
	Even     bool          // the kinds that come at a step come equally often, and at one each time, so that the table of cells fills
}

// card is a kind with its share, of about 200.
type card struct {
	kind  Kind
	share int
}

// deck is the mix of kinds.
var deck = []card{
	{Kill, 48}, {Stop, 26}, {Restart, 4}, {Roll, 2}, {Cut, 9}, {Freeze, 9}, {OneWay, 9}, {Slow, 6}, {Lossy, 8},
	{Drop, 8}, {Disk, 6}, {Stall, 6}, {Fsync, 6}, {Clock, 6}, {Wipe, 6}, {Flip, 5}, {Join, 3}, {Drain, 4}, {Move, 8}, {Submit, 3},
	{BrokerKill, 7}, {BrokerStop, 5}, {BrokerCut, 4}, {ControllerKill, 3}, {Compact, 3}, {Power, 8},
}

// evenShare is that of a kind that comes at a step, in an even deck.
const evenShare = 20

// Transitions are the changes of role at which a fault can come, beside the steps of internal/step.
var Transitions = []string{"acquiring", "restoring", "standby", "moving", "draining", "joining"}

// Rows are the rows of the table of cells: every step of a transaction and of an acquire, and every
// transition.
func Rows() (rows []string) {
	for _, n := range slices.Concat(step.All, step.TwoStages) {
		rows = append(rows, string(n))
	}
	return append(rows, Transitions...)
}

// RowsOf are the rows at which a kind of OfNodes can come. What a stall holds is one step: beside
// those the last ones of an acquire, before and behind the reading of the changelog.
func RowsOf(kind Kind) []string {
	rows := Rows()
	if kind == Stall {
		return append(rows[:len(rows)-len(Transitions)], "acquiring", "restoring")
	}
	return rows
}

// Draw makes the schedule of a seed.
func Draw(seed uint64, length time.Duration, opt Options) Schedule {
	spacing := 3500 * time.Millisecond
	if opt.Even {
		spacing = 2400 * time.Millisecond
	}
	opt.Spacing = or(opt.Spacing, spacing)
	opt.Settling = or(opt.Settling, 3*time.Second)
	opt.Quiet = or(opt.Quiet, 30*time.Second)
	d := &drawing{opt: opt, rand: rand.New(rand.NewPCG(seed, 8)), end: length - opt.Quiet}
	s := Schedule{Seed: seed, Length: length}
	active := d.end - opt.Settling
	count := int(active / opt.Spacing)
	for i, kind := range d.kinds(count) {
		at := opt.Settling + time.Duration((float64(i)+d.rand.Float64())*float64(active)/float64(count))
		if f, ok := d.fault(kind, at); ok {
			s.Faults = append(s.Faults, f)
		}
	}
	slices.SortStableFunc(s.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	for i := range s.Faults {
		s.Faults[i].ID = i + 1
	}
	return s
}

func or(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// drawing is a schedule that is being drawn.
type drawing struct {
	opt     Options
	rand    *rand.Rand
	end     time.Duration // no fault lasts beyond it
	brokers time.Duration // until then a broker is away or comes back
	rows    map[Kind][]string
}

// kinds deals so many cards, again and again from a whole deck, so that a long run has each kind in
// its share.
func (d *drawing) kinds(count int) (kinds []Kind) {
	for len(kinds) < count {
		var whole []Kind
		for _, c := range deck {
			if d.opt.Even && slices.Contains(OfNodes, c.kind) {
				c.share = evenShare
			}
			if slices.Contains(OfBrokers, c.kind) && d.opt.Brokers < 3 || c.kind == Join && len(d.opt.Spare) == 0 ||
				d.opt.Kinds != nil && !slices.Contains(d.opt.Kinds, c.kind) {
				continue
			}
			for range c.share {
				whole = append(whole, c.kind)
			}
		}
		d.rand.Shuffle(len(whole), func(i, j int) { whole[i], whole[j] = whole[j], whole[i] })
		kinds = append(kinds, whole...)
	}
	return kinds[:max(count, 0)]
}

// fault draws the rest; false: there is no room for it.
func (d *drawing) fault(kind Kind, at time.Duration) (f Fault, ok bool) {
	f = Fault{At: at.Round(10 * time.Millisecond), Kind: kind}
	if slices.Contains(OfBrokers, kind) || kind == Compact {
		return d.ofBroker(f)
	}
	f.Target = pick(d.rand, "owner", "owner", "owner", "leader", "any", "standby of "+d.lane(), "owner of "+d.lane())
	switch kind {
	case Kill:
		d.kill(&f)
	case Power:
		f.For = pick(d.rand, 0, 200*time.Millisecond, time.Second, 3*time.Second)
	case Stop:
		f.For = d.between(100*time.Millisecond, 40*time.Second)
	case Roll:
		f.Target = "all"
	case Cut, Freeze, Slow, Lossy:
		f.Param = pick(d.rand, "peers", "kafka", "kafka", "all", "broker "+d.broker(), "node "+pick(d.rand, d.opt.Nodes...))
		f.For = d.between(200*time.Millisecond, 20*time.Second)
	case OneWay:
		f.Param = pick(d.rand, "to", "from") + " " + pick(d.rand, "peers", "kafka", "all")
		f.For = d.between(200*time.Millisecond, 15*time.Second)
	case Drop:
		f.Target, f.Param = "brokers", pick(d.rand, Requests...)
		f.For = 5 * time.Second
	case Disk:
		f.For = d.between(time.Second, 8*time.Second)
	case Stall, Fsync:
		f.For = d.between(200*time.Millisecond, 10*time.Second)
	case Clock:
		f.Param = strconv.Itoa(pick(d.rand, -86400, -3600, -30, -2, 2, 30, 3600, 86400))
		f.For = d.between(time.Second, 20*time.Second)
	case Wipe:
		f.Param = pick(d.rand, "state", "state", "all")
		f.For = d.between(100*time.Millisecond, 3*time.Second)
	case Flip:
		f.For = d.between(100*time.Millisecond, 3*time.Second)
	case Join:
		f.Target, f.For = "node "+pick(d.rand, d.opt.Spare...), d.between(15*time.Second, 60*time.Second)
	case Drain:
		f.For = d.between(3*time.Second, 15*time.Second)
	case Move:
		f.Target, f.Param = "any", d.lane()
	case Submit:
		f.Target, f.For = "any", d.between(10*time.Second, 40*time.Second)
	}
	if slices.Contains(OfNodes, kind) && f.Target != "all" && f.Target != "two" {
		f.Step = d.row(kind)
	}
	if f.over() > d.end {
		f.For = max(0, d.end-f.At)
	}
	return f, f.At < d.end
}

// Requests are the requests of Kafka whose answers are dropped.
var Requests = []string{"EndTxn", "EndTxn", "Produce", "TxnOffsetCommit", "InitProducerID", "Fetch"}

func (d *drawing) kill(f *Fault) {
	switch n := d.rand.IntN(16); n {
	case 0:
		f.Target = "all"
	case 1, 2:
		f.Target = "two"
	}
	f.For = pick(d.rand, 0, 200*time.Millisecond, time.Second, 3*time.Second, 8*time.Second)
}

// ofBroker draws a fault of a broker, later where another one is still away.
func (d *drawing) ofBroker(f Fault) (Fault, bool) {
	f.Target = "broker " + d.broker()
	switch f.Kind {
	case BrokerKill:
		f.For = d.between(100*time.Millisecond, 12*time.Second)
	case ControllerKill:
		f.Target, f.For = "controller", d.between(100*time.Millisecond, 6*time.Second)
	case BrokerStop:
		f.For = d.between(7*time.Second, 20*time.Second) // a broker's session is 6 s: others lead by then
	case BrokerCut:
		f.For, f.Param = d.between(500*time.Millisecond, 15*time.Second), pick(d.rand, BrokerCuts...)
	case Compact:
		f.Target, f.For = "changelogs", 10*time.Second
		return f, f.over() < d.end
	}
	f.At = max(f.At, d.brokers)
	if f.over() > d.end {
		return f, false
	}
	d.brokers = f.over() + brokerBack
	return f, true
}

// row deals the rows of the table to the faults of a kind, each once before one comes twice; a
// fourth of the faults have none, but in an even deck.
func (d *drawing) row(kind Kind) string {
	if !d.opt.Even && d.rand.IntN(4) == 0 {
		return ""
	}
	if d.rows == nil {
		d.rows = map[Kind][]string{}
	}
	left := d.rows[kind]
	if len(left) == 0 {
		left = RowsOf(kind)
		d.rand.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	}
	d.rows[kind] = left[1:]
	return left[0]
}

func (d *drawing) lane() string {
	return pick(d.rand, d.opt.Apps...) + "/" + strconv.Itoa(d.rand.IntN(d.opt.Lanes))
}

func (d *drawing) broker() string { return strconv.Itoa(1 + d.rand.IntN(max(1, d.opt.Brokers))) }

// between draws a length, short ones as often as long ones.
func (d *drawing) between(least, most time.Duration) time.Duration {
	n := math.Exp(d.rand.Float64() * math.Log(float64(most)/float64(least)))
	return time.Duration(n * float64(least)).Round(10 * time.Millisecond)
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
