package broker

import (
	"runtime"
	"testing"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestConnectionsAreForgotten has a thousand clients come, produce and go.
func TestConnectionsAreForgotten(t *testing.T) {
	const clients, valueBytes, growthMax = 1000, 100 << 10, 25 << 20
	b := start(t, t.TempDir())
	b.topic(1, nil)
	value := make([]byte, valueBytes)
	seam.World().Rand(value)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	produce := func() {
		cl, err := config(b.Running).Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		b.send(cl, &kgo.Record{Value: value})
	}
	produce()
	before := heap()
	for range clients {
		produce()
	}
	if grown := heap() - before; grown > growthMax {
		t.Errorf("%d connections that are gone hold %d MiB", clients, grown>>20)
	}
}
