package api

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tally-kafka/tally/state"
)

type storeMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(m state.Metrics) int64
}

func storeMetrics() []storeMetric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	store := func(name, help string, kind prometheus.ValueType, value func(state.Metrics) int64) storeMetric {
		return storeMetric{prometheus.NewDesc("tally_store_"+name, help, []string{"app", "lane"}, nil), kind, value}
	}
	return []storeMetric{
		store("cached_groups", "Groups in the write-back cache.", gauge, func(m state.Metrics) int64 { return m.Groups }),
		store("cache_bytes", "Size of the write-back cache.", gauge, func(m state.Metrics) int64 { return m.CacheBytes }),
		store("dirty_bytes", "Part of the cache that is not in Pebble yet.", gauge, func(m state.Metrics) int64 { return m.DirtyBytes }),
		store("cache_hits_total", "Reads that the cache answered.", counter, func(m state.Metrics) int64 { return m.Hits }),
		store("cache_misses_total", "Reads that went to Pebble.", counter, func(m state.Metrics) int64 { return m.Misses }),
		store("applied_transactions_total", "Published transactions that are in Pebble.", counter,
			func(m state.Metrics) int64 { return m.AppliedTxns }),
		store("flushes_total", "Memtables flushed.", counter, func(m state.Metrics) int64 { return m.Flushes }),
		store("compactions_total", "Compactions.", counter, func(m state.Metrics) int64 { return m.Compactions }),
		store("stalls_total", "Times that writes waited for a flush or for compactions.", counter, func(m state.Metrics) int64 { return m.Stalls }),
		store("disk_bytes", "Size of Pebble's files.", gauge, func(m state.Metrics) int64 { return m.DiskBytes }),
		store("memtable_bytes", "Size of Pebble's memtables.", gauge, func(m state.Metrics) int64 { return m.MemTableBytes }),
		store("block_cache_bytes", "Size of the block cache, which lanes may share.", gauge,
			func(m state.Metrics) int64 { return m.BlockBytes }),
		store("l0_tables", "Overlapping tables that a read may have to look at.", gauge,
			func(m state.Metrics) int64 { return m.L0Tables }),
	}
}

func (c *collector) collectStores(ch chan<- prometheus.Metric) {
	for _, a := range c.node.Apps() {
		for _, v := range a.Lanes() {
			if v.Store == nil {
				continue
			}
			metrics := v.Store.Metrics()
			for _, m := range c.store {
				ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(metrics)), a.Name, strconv.Itoa(v.Lane))
			}
		}
	}
}
