package doctor

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func checkBrokers(f *facts) Check {
	c := Check{Name: "brokers", Result: OK}
	if f.brokers.err != nil {
		return notKnown(f, c.Name, f.brokers.err, "", "")
	}
	var dead []string
	for _, b := range f.brokers.v {
		if b.Err != nil {
			dead = append(dead, fmt.Sprintf("broker %d at %s does not answer: %v", b.ID, b.Addr, b.Err))
		}
	}
	if len(dead) == 0 {
		c.Found = fmt.Sprintf("%s of cluster %s, each answers at the address that it advertises",
			plural(len(f.brokers.v), "broker"), f.clusterID.v)
		return c
	}
	c.Result = Error
	c.Found = strings.Join(dead, "; ")
	c.Why = "what that broker leads or coordinates cannot be read or committed from this machine, although another broker answers"
	c.Mend = "start it, or correct its advertised.listeners to an address that this machine reaches"
	return c
}

// needed are the requests without which a broker cannot keep what tally promises.
var needed = []struct {
	key, version int16
	name         string
}{
	{22, 0, "InitProducerID"},
	{26, 0, "EndTxn"},
	{28, 3, "TxnOffsetCommit"},
	{9, 7, "OffsetFetch"},
}

// Kafka before this has faults that touch tally.
const versionMajor, versionMinor = 4, 2

func checkVersion(f *facts) Check {
	c := Check{Name: "broker version", Result: OK}
	if f.requests.err != nil {
		return notKnown(f, c.Name, f.requests.err, "", "")
	}
	for _, n := range needed {
		if have, ok := f.requests.v[n.key]; !ok || have < n.version {
			c.Result = Error
			c.Found = fmt.Sprintf("%s: it does not take %s version %d", f.guess.v, n.name, n.version)
			c.Why = "tally cannot keep a count exact without it, and refuses to start"
			c.Mend = fmt.Sprintf("upgrade Kafka; 2.5 is the oldest that tally runs on, %d.%d or newer is better", versionMajor, versionMinor)
			return c
		}
	}
	if f.node != nil && f.node.Kafka.Embedded {
		c.Found = "tally's embedded broker, for trying out"
		return c
	}
	if f.guess.err != nil {
		return notKnown(f, c.Name, f.guess.err, "", "")
	}
	major, minor, ok := parseVersion(f.guess.v)
	switch {
	case !ok:
		c.Result = Skipped
		c.Found = "not known: the requests that it takes are those of no release of Apache Kafka; tally has all that it needs"
	case major < versionMajor || major == versionMajor && minor < versionMinor:
		c.Result = Warning
		c.Found = f.guess.v + ", by the requests that it takes"
		c.Why = fmt.Sprintf("transactions have faults there that %d.%d mends (KAFKA-19690, KAFKA-19446 and others)",
			versionMajor, versionMinor)
		c.Mend = fmt.Sprintf("upgrade the brokers to %d.%d or newer", versionMajor, versionMinor)
	default:
		c.Found = f.guess.v + ", by the requests that it takes"
	}
	return c
}

var versionPattern = regexp.MustCompile(`^(?:at least )?v(\d+)\.(\d+)`)

// parseVersion reads the guess for a release. Other guesses ("between v1.0 and v1.1") are of what
// is no Apache Kafka, or of one whose provider has taken requests away: their numbers say nothing.
func parseVersion(guess string) (major, minor int, ok bool) {
	m := versionPattern.FindStringSubmatch(guess)
	if m == nil {
		return 0, 0, false
	}
	major, _ = strconv.Atoi(m[1])
	minor, _ = strconv.Atoi(m[2])
	return major, minor, true
}

func checkTransactionVersion(f *facts) Check {
	c := Check{Name: "transaction.version", Result: OK}
	if f.transactions.err != nil {
		return notKnown(f, c.Name, f.transactions.err, "", "")
	}
	c.Found = fmt.Sprintf("%d", f.transactions.v)
	if f.transactions.v < 2 {
		c.Result = Warning
		c.Why = "below 2 a delayed end of one transaction can decide the next one of the same producer (KAFKA-17754)"
		c.Mend = f.commands.line("kafka-features", "upgrade --feature transaction.version=2")
	}
	return c
}

// backoffMax is the back-off that is too short to be felt beside a commit.
const backoffMax = 5 * time.Millisecond

func checkBackoff(f *facts) Check {
	const setting = "add.partitions.to.txn.retry.backoff.ms"
	c := Check{Name: "transaction back-off", Result: OK}
	if f.settings.err != nil {
		return notKnown(f, c.Name, f.settings.err, "DescribeConfigs", "--cluster")
	}
	value, brokers := largest(f, setting)
	switch {
	case brokers == "":
		c.Result = Skipped
		c.Found = "no broker has the setting " + setting
	case time.Duration(value)*time.Millisecond <= backoffMax:
		c.Found = fmt.Sprintf("%s=%d", setting, value)
	default:
		c.Result = Warning
		c.Found = fmt.Sprintf("%s=%d on %s", setting, value, brokers)
		c.Why = fmt.Sprintf("a transaction that begins while the markers of the last one are being written waits %d ms; "+
			"tally pauses 5 ms after each commit and so seldom meets it, but a loaded broker takes longer than that", value)
		c.Mend = "put " + setting + "=1 into server.properties of each broker and restart them one by one: the setting is not dynamic"
	}
	return c
}

// offsetsRetentionMin is twice the day after which tally commits an idle partition's offset again.
const offsetsRetentionMin = 2 * 24 * time.Hour

func checkOffsetsRetention(f *facts) Check {
	const setting = "offsets.retention.minutes"
	c := Check{Name: "offsets retention", Result: OK}
	if f.settings.err != nil {
		return notKnown(f, c.Name, f.settings.err, "DescribeConfigs", "--cluster")
	}
	value, brokers := smallest(f, setting)
	c.Found = fmt.Sprintf("%s=%d", setting, value)
	switch {
	case brokers == "":
		c.Result = Skipped
		c.Found = "no broker has the setting " + setting
	case time.Duration(value)*time.Minute < offsetsRetentionMin:
		c.Result = Warning
		c.Found += " on " + brokers
		c.Why = "tally commits the offset of an idle partition again once a day; one that expires before that is missing from lag monitors until it comes back"
		c.Mend = "put " + setting + "=10080 (7 days, Kafka's default) into server.properties of each broker and restart them one by one"
	}
	return c
}

// largest is the largest value that a broker has of a numeric setting, and who has it.
func largest(f *facts, setting string) (int64, string) {
	return extreme(f, setting, func(a, b int64) bool { return a > b })
}

func smallest(f *facts, setting string) (int64, string) {
	return extreme(f, setting, func(a, b int64) bool { return a < b })
}

func extreme(f *facts, setting string, beats func(a, b int64) bool) (value int64, brokers string) {
	var who []string
	for _, id := range slices.Sorted(maps.Keys(f.settings.v)) {
		n, err := strconv.ParseInt(f.settings.v[id][setting], 10, 64)
		if err != nil {
			continue
		}
		if who == nil || beats(n, value) {
			value, who = n, nil
		}
		if n == value {
			who = append(who, strconv.Itoa(int(id)))
		}
	}
	switch len(who) {
	case 0:
		return 0, ""
	case 1:
		return value, "broker " + who[0]
	}
	return value, "brokers " + strings.Join(who, ", ")
}

// clockSlack is what asking takes.
const clockSlack = time.Second

// checkClock has little to go by: no answer of Kafka's carries its time. A coordinator tells when a
// transaction began, by its own clock, which can show that this machine is behind, but not that it
// is ahead; and a record written to find out would be a change.
func checkClock(f *facts) Check {
	c := Check{Name: "clock", Result: Skipped,
		Found: "not checked: Kafka tells its time only with an open transaction or by writing; compare `date -u` on this machine and a broker"}
	var newest int64 // by a coordinator's clock
	var ahead time.Duration
	for _, a := range f.apps {
		for _, o := range a.open.v {
			if o.state != nil && o.state.StartMs > newest {
				newest = o.state.StartMs
				ahead = time.UnixMilli(newest).Sub(a.askedAt)
			}
		}
	}
	if newest == 0 {
		return c
	}
	if ahead > clockSlack {
		c.Result = Warning
		c.Found = fmt.Sprintf("this machine is at least %s behind Kafka: a transaction that is open now began at %s by its coordinator's clock",
			ahead.Round(time.Second), utc(newest))
		c.Why = "times in answers, dead letters and position records are this machine's"
		c.Mend = "let both keep time: chronyc tracking, or timedatectl set-ntp true"
		return c
	}
	c.Found = fmt.Sprintf("this machine is not behind Kafka, as an open transaction that began at %s by its coordinator's clock shows; whether it is ahead cannot be seen without writing",
		utc(newest))
	return c
}

func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000Z") }

func checkNode(f *facts) Check {
	c := Check{Name: "node", Result: OK, Found: fmt.Sprintf("%s (tally %s) counts on this Kafka", f.node.Node, f.node.Version)}
	switch {
	case f.node.Kafka.Error != "":
		c.Result, c.Found = Error, fmt.Sprintf("%s has trouble with Kafka: %s", f.node.Node, f.node.Kafka.Error)
		c.Why = "nothing is counted while it cannot reach Kafka"
		c.Mend = "compare its --brokers and --kafka-config with the ones that work here: tally status"
	case f.clusterID.err == nil && f.node.Kafka.ClusterID != "" && f.node.Kafka.ClusterID != f.clusterID.v:
		c.Result = Error
		c.Found = fmt.Sprintf("%s counts on the Kafka cluster %s, and this is %s", f.node.Node, f.node.Kafka.ClusterID, f.clusterID.v)
		c.Why = "this report is about another Kafka than the node's"
		c.Mend = "say --brokers " + strings.Join(f.node.Kafka.Brokers, ",")
	}
	return c
}
