package kafka

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// RecordPool is where a client takes the records from that it decodes a batch into, for a reader
// that gives each one back by [kgo.Record.Recycle] when it needs it no more, and does not look at
// it again. What a record points to, its key, its value and its headers, is not from here, and may
// be kept.
//
// It is an option of the client: kgo.WithPools(&RecordPool{}). Its size is bounded by what the
// client has fetched and the reader has not given back; what lies in it the collector takes.
type RecordPool struct{ free sync.Pool }

// pooledRecords is the least that a batch must have for a slice of the pool: smaller ones are cheap
// to make, and would each use a slice made for a large one.
const pooledRecords = 64

// GetRecords returns a slice of at least n records, or nil where the client may as well make it.
func (p *RecordPool) GetRecords(n int) []kgo.Record {
	if n < pooledRecords {
		return nil
	}
	if s, _ := p.free.Get().(*[]kgo.Record); s != nil && cap(*s) >= n {
		return (*s)[:n]
	}
	return make([]kgo.Record, n)
}

// PutRecords takes back a slice of which each record was given back.
func (p *RecordPool) PutRecords(recs []kgo.Record) {
	if cap(recs) >= pooledRecords {
		p.free.Put(&recs)
	}
}
