package api

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// collector makes metrics of a node's status at each scrape, so that no counter is kept twice.
// Their names are part of the contract, as the JSON's are.
type collector struct {
	node  Node
	info  *prometheus.Desc
	ready *prometheus.Desc
	apps  []appMetric
	lanes []laneMetric
	store []storeMetric
}

type appMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(a AppStatus) int64
}

type laneMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(l LaneStatus) int64
}

func newCollector(n Node) *collector {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	app := func(name, help string, kind prometheus.ValueType, value func(AppStatus) int64) appMetric {
		return appMetric{prometheus.NewDesc("tally_"+name, help, []string{"app"}, nil), kind, value}
	}
	lane := func(name, help string, kind prometheus.ValueType, value func(LaneStatus) int64) laneMetric {
		return laneMetric{prometheus.NewDesc("tally_lane_"+name, help, []string{"app", "lane"}, nil), kind, value}
	}
	return &collector{
		node:  n,
		info:  prometheus.NewDesc("tally_info", "Always 1; the labels say who answers.", []string{"node", "version"}, nil),
		ready: prometheus.NewDesc("tally_ready", "1 when every lane of this node runs.", nil, nil),
		// A reset of the app sets the counters back to 0, which rate() understands.
		apps: []appMetric{
			app("processed_events_total", "Events counted.", counter, func(a AppStatus) int64 { return a.Processed }),
			app("filtered_events_total", "Events that where left out.", counter, func(a AppStatus) int64 { return a.Filtered }),
			app("skipped_events_total", "Unreadable events skipped.", counter, func(a AppStatus) int64 { return a.Skipped }),
			app("dead_events_total", "Unreadable events sent to the dead-letter topic.", counter, func(a AppStatus) int64 { return a.Dead }),
			app("stray_events_total", "Events that no known partitioner puts where they are.", counter, func(a AppStatus) int64 { return a.Strays }),
			app("groups", "Groups with values.", gauge, func(a AppStatus) int64 { return a.Groups }),
			app("repartition_lag_records", "Records of the repartition topic that are not counted yet.", gauge, func(a AppStatus) int64 { return a.RepartitionLag }),
			app("lag_events", "Last stable offset - read position, over all partitions of the input.", gauge, func(a AppStatus) int64 { return a.Lag }),
		},
		lanes: []laneMetric{
			lane("running", "1 when the lane's state is running.", gauge, func(l LaneStatus) int64 { return boolInt(l.State == LaneRunning) }),
			lane("epoch", "Epoch of the lane's grant.", gauge, func(l LaneStatus) int64 { return int64(l.Epoch) }),
			lane("lag_events", "Last stable offset - read position.", gauge, func(l LaneStatus) int64 { return l.Lag }),
			lane("repartition_lag_records", "Records of the repartition topic that are not counted yet.", gauge, func(l LaneStatus) int64 { return l.RepartitionLag }),
			lane("transactions_total", "Transactions committed since the lane was acquired.", counter, func(l LaneStatus) int64 { return l.Transactions }),
			lane("aborted_total", "Transactions aborted since the lane was acquired.", counter, func(l LaneStatus) int64 { return l.Aborted }),
			lane("restored_records", "Changelog records read by the last restore.", gauge, func(l LaneStatus) int64 { return restoreOf(l).Records }),
			lane("restore_milliseconds", "How long the last restore took.", gauge, func(l LaneStatus) int64 { return restoreOf(l).Ms }),
		},
		store: storeMetrics(),
	}
}

func restoreOf(l LaneStatus) Restore {
	if l.Restore == nil {
		return Restore{}
	}
	return *l.Restore
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Describe lists every metric, so that a second registration is found out at once.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.info
	ch <- c.ready
	for _, m := range c.apps {
		ch <- m.desc
	}
	for _, m := range c.lanes {
		ch <- m.desc
	}
	for _, m := range c.store {
		ch <- m.desc
	}
}

// Collect is a scrape.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	st := c.node.Status(context.Background())
	ch <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1, st.Node, st.Version)
	ch <- prometheus.MustNewConstMetric(c.ready, prometheus.GaugeValue, float64(boolInt(len(c.node.NotReady()) == 0)))
	for _, a := range st.Apps {
		for _, m := range c.apps {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(a)), a.App)
		}
		for _, l := range a.Lanes {
			for _, m := range c.lanes {
				ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(l)), a.App, strconv.Itoa(l.Lane))
			}
		}
	}
	c.collectStores(ch)
}
