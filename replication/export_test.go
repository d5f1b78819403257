package replication

import "github.com/twmb/franz-go/pkg/kgo"

// UnbrokenForTest is what a run says of records that came to a store with everything below at, of a
// log that begins at start.
func UnbrokenForTest(at, start int64) error {
	p := kgo.FetchTopicPartition{Topic: "changelog", FetchPartition: kgo.FetchPartition{LogStartOffset: start, Records: []*kgo.Record{{}}}}
	return (&run{at: map[int32]int64{0: at}}).unbroken(p)
}
