package node

import (
	"math/rand/v2"
	"reflect"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// everywhere lets faults hit every kind of request that a node sends. What the test itself sends is
// not hit.
func (f *brokerFaults) everywhere(c *kfake.Cluster) {
	f.every = true
	for _, key := range refusedEverywhere() {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Count: -1, Err: refusal(key), When: func(r kmsg.Request) bool {
			return f.hits(key, f.laneOf(r), 0)
		}})
	}
}

// refusedEverywhere are the kinds that only these trials refuse.
func refusedEverywhere() []kmsg.Key {
	return []kmsg.Key{
		kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.OffsetCommit, kmsg.CreateTopics,
		kmsg.IncrementalAlterConfigs, kmsg.DeleteRecords,
	}
}

// refusable are all kinds that are refused: those that change something.
func refusable() []kmsg.Key {
	return append(refusedEverywhere(), kmsg.EndTxn, kmsg.Produce, kmsg.TxnOffsetCommit)
}

// laneOf is the transactional id of a request that changes something, or what would be one where
// the kind has none: the test sends none of these while there are faults.
func (f *brokerFaults) laneOf(r kmsg.Request) string {
	switch r := r.(type) {
	case *kmsg.InitProducerIDRequest:
		if r.TransactionalID == nil {
			return ""
		}
		return *r.TransactionalID
	case *kmsg.AddPartitionsToTxnRequest:
		return r.TransactionalID
	case *kmsg.AddOffsetsToTxnRequest:
		return r.TransactionalID
	}
	return f.app + ".lane-"
}

// rate is the part of a kind's requests that a kind of fault hits, by the thousand: much of what is
// seldom sent, and less of the rest. The caller holds mu.
func (f *brokerFaults) rate(key kmsg.Key) int {
	switch n := f.sent[key]; {
	case n < 10:
		return 150
	case n < 100:
		return 40
	case n < 1000:
		return 12
	}
	return 4
}

// fateOf draws what happens to a request.
func (f *brokerFaults) fateOf(key kmsg.Key, rng *rand.Rand) fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rng.IntN(1000) >= f.rate(key) {
		return answered
	}
	if key == kmsg.ApiVersions {
		return []fate{neverSent, answerLost}[rng.IntN(2)]
	}
	return []fate{neverSent, answerLost, answerBad}[rng.IntN(3)]
}

// refusal is the error that says of a kind of request that it was not carried out: one that a
// client tries again after, but for those of a transaction, which it has to give up.
func refusal(key kmsg.Key) *kerr.Error {
	switch key {
	case kmsg.Fetch, kmsg.ListOffsets, kmsg.OffsetForLeaderEpoch, kmsg.DeleteRecords:
		return kerr.NotLeaderForPartition
	case kmsg.Metadata:
		return kerr.LeaderNotAvailable
	case kmsg.OffsetFetch, kmsg.OffsetCommit, kmsg.InitProducerID, kmsg.AddOffsetsToTxn, kmsg.AddPartitionsToTxn:
		return kerr.CoordinatorLoadInProgress
	case kmsg.FindCoordinator:
		return kerr.CoordinatorNotAvailable
	case kmsg.EndTxn, kmsg.Produce, kmsg.TxnOffsetCommit:
		return kerr.UnknownServerError
	}
	return kerr.RequestTimedOut
}

// spoil lets an answer say that nothing was carried out. It reports whether there was anything that
// it could say so of.
func spoil(resp kmsg.Response) bool {
	code := refusal(kmsg.Key(resp.Key())).Code
	switch r := resp.(type) {
	case *kmsg.EndTxnResponse:
		if r.ErrorCode != 0 {
			return false // it says so already
		}
	case *kmsg.FetchResponse:
		return spoilFetch(r, code)
	case *kmsg.OffsetFetchResponse:
		for i := range r.Groups {
			r.Groups[i].ErrorCode = code
		}
		r.ErrorCode = code
		return true
	}
	return spoilBelow(reflect.ValueOf(resp), code)
}

func spoilFetch(r *kmsg.FetchResponse, code int16) (did bool) {
	for _, t := range r.Topics {
		for i := range t.Partitions {
			t.Partitions[i].ErrorCode, t.Partitions[i].RecordBatches, did = code, nil, true
		}
	}
	return did
}

// spoilBelow sets the error codes of the innermost things that have one.
func spoilBelow(v reflect.Value, code int16) (did bool) {
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && spoilBelow(v.Elem(), code)
	case reflect.Slice:
		for i := range v.Len() {
			did = spoilBelow(v.Index(i), code) || did
		}
	case reflect.Struct:
		for i := range v.NumField() {
			did = spoilBelow(v.Field(i), code) || did
		}
		if own := v.FieldByName("ErrorCode"); !did && own.IsValid() {
			own.SetInt(int64(code))
			did = true
		}
	}
	return did
}
