package node

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// needs are the requests without which a broker cannot keep what tally promises. kgo would take an
// older version and leave out the field that matters.
var needs = []struct {
	key     kmsg.Key
	version int16
}{
	{kmsg.InitProducerID, 0},
	{kmsg.EndTxn, 0},
	{kmsg.TxnOffsetCommit, 3},
	{kmsg.OffsetFetch, 7}, // RequireStable: an answer that waits for a transaction that is just ending
}

// enough refuses a broker without transactions, or too old for them, before anything is written.
func (n *Node) enough(offered map[int16]int16) error {
	for _, need := range needs {
		have, ok := offered[need.key.Int16()]
		if !ok {
			have = -1
		}
		if have < need.version {
			return &OldBrokerError{
				Brokers: strings.Join(n.kafka.Brokers, ","), Request: need.key.Name(), Offered: have, Needed: need.version,
			}
		}
	}
	return nil
}
