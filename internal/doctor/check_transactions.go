package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// abortGrace is what a coordinator takes to notice that a transaction has timed out.
const abortGrace = 15 * time.Second

// timeoutMax is Kafka's transaction.max.timeout.ms: no transaction is meant to be open for longer.
const timeoutMax = 15 * time.Minute

// checkTransactions finds transactions that nobody will end: behind one, no reader of committed
// records goes on.
func checkTransactions(f *facts, a *appFacts) Check {
	c := Check{Name: "transactions of " + a.Name, Result: OK}
	if a.open.err != nil {
		return notKnown(f, c.Name, a.open.err, "Read", "--topic "+a.Input)
	}
	var found, mends []string
	inProgress := 0
	for _, o := range a.open.v {
		r, text := judgeTransaction(o, a.askedAt)
		if r == OK {
			inProgress++
			continue
		}
		if c.Result != Error {
			c.Result = r
		}
		found = append(found, text)
		mends = append(mends, f.commands.line("kafka-transactions",
			fmt.Sprintf("abort --topic %s --partition %d --start-offset %d", o.Topic, o.Partition, o.StartOffset)))
	}
	if c.Result == OK {
		c.Found = "none hangs"
		if inProgress > 0 {
			c.Found += fmt.Sprintf("; open on %s and within their time", plural(inProgress, "partition"))
		}
		if len(a.unseen) > 0 {
			c.Found += "; not looked at, since this user may not read it: " + strings.Join(a.unseen, ", ")
		}
		return c
	}
	c.Found = strings.Join(found, "; ")
	c.Why = "readers of committed records, tally among them, stop before the first record of an open transaction"
	c.Mend = strings.Join(mends, "\n")
	if slices.ContainsFunc(a.open.v, func(o openTransaction) bool { return strings.HasPrefix(o.id, a.Name+".lane-") }) {
		c.Mend = "tally run    # a node ends what lanes of this app left open; else\n" + c.Mend
	}
	return c
}

// judgeTransaction says whether an open transaction hangs, and whose it is.
func judgeTransaction(o openTransaction, now time.Time) (Result, string) {
	where := fmt.Sprintf("on %s/%d from offset %d", o.Topic, o.Partition, o.StartOffset)
	switch {
	case o.state == nil:
		return judgeUnknown(o, where, now)
	case slices.Contains(o.state.Topics[o.Topic], o.Partition) && o.state.Open():
		timeout := time.Duration(o.state.TimeoutMs) * time.Millisecond
		age := now.Sub(time.UnixMilli(o.state.StartMs))
		if age <= timeout+abortGrace {
			return OK, ""
		}
		return Error, fmt.Sprintf("the transaction of %q (producer %d) is open %s since %s, for %s; its timeout is %s",
			o.id, o.ProducerID, where, utc(o.state.StartMs), age.Round(time.Second), timeout)
	case o.state.State == "PrepareCommit" || o.state.State == "PrepareAbort":
		return OK, "" // it ends at this moment
	}
	return Error, fmt.Sprintf("a transaction of %q (producer %d) is open %s, and its coordinator does not know of it (it says %s): it will never end by itself",
		o.id, o.ProducerID, where, o.state.State)
}

// judgeUnknown has only the timestamp of the last record to go by, and that is the producer's word.
func judgeUnknown(o openTransaction, where string, now time.Time) (Result, string) {
	last := time.UnixMilli(o.LastMs)
	text := fmt.Sprintf("a transaction of producer %d is open %s, its last record is of %s; its transactional id is unknown to Kafka, or not for this user to see",
		o.ProducerID, where, utc(o.LastMs))
	if o.LastMs > 0 && now.Sub(last) > timeoutMax+abortGrace {
		return Error, text
	}
	return Warning, text
}
