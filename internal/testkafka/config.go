package testkafka

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Properties are the server.properties of a node, for who says how he has measured.
func (c *Cluster) Properties(id int) string { return c.properties(c.node(id)) }

// properties renders the server.properties of one node. Options.Props come last and win.
func (c *Cluster) properties(n *node) string {
	// A killed node can register again only when its session is over, so the shorter the better;
	// but three JVMs on a busy machine miss heartbeats.
	replicas, minISR, sessionMs := 1, 1, 3000
	if len(c.nodes) >= 3 {
		replicas, minISR, sessionMs = 3, 2, 6000
	}
	listeners := []string{
		fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", n.port),
		fmt.Sprintf("CONTROLLER://127.0.0.1:%d", n.controller),
	}
	advertised := []string{fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", n.port)}
	protocols := []string{"PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"}
	if n.proxy != nil {
		listeners = append(listeners, fmt.Sprintf("PROXIED://127.0.0.1:%d", n.proxied))
		advertised = append(advertised, "PROXIED://"+n.clientAddr())
		protocols = append(protocols, "PROXIED:PLAINTEXT")
	}
	if n.quorum != nil || n.routed != nil {
		advertised = append(advertised, "CONTROLLER://"+n.controllerAddr())
	}
	between := "PLAINTEXT"
	if n.routed != nil {
		between = "BROKERS"
		listeners = append(listeners, fmt.Sprintf("BROKERS://127.0.0.1:%d", n.brokers))
		advertised = append(advertised, "BROKERS://"+n.routed[ForBrokers])
		protocols = append(protocols, "BROKERS:PLAINTEXT")
	}
	if c.opt.SASLSSL {
		secure := fmt.Sprintf("SECURE://127.0.0.1:%d", n.secure)
		listeners, advertised = append(listeners, secure), append(advertised, secure)
		protocols = append(protocols, "SECURE:SASL_SSL")
	}
	props := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        fmt.Sprint(n.id),
		"listeners":                      strings.Join(listeners, ","),
		"advertised.listeners":           strings.Join(advertised, ","),
		"listener.security.protocol.map": strings.Join(protocols, ","),
		"controller.listener.names":      "CONTROLLER",
		"inter.broker.listener.name":     between,
		"controller.quorum.voters":       c.voters(),
		"log.dirs":                       n.data(),
		"auto.create.topics.enable":      "false",

		"offsets.topic.num.partitions":                     "8",
		"offsets.topic.replication.factor":                 fmt.Sprint(replicas),
		"transaction.state.log.num.partitions":             "8",
		"transaction.state.log.replication.factor":         fmt.Sprint(replicas),
		"transaction.state.log.min.isr":                    fmt.Sprint(minISR),
		"share.coordinator.state.topic.replication.factor": fmt.Sprint(replicas),
		"share.coordinator.state.topic.min.isr":            fmt.Sprint(minISR),
		"group.initial.rebalance.delay.ms":                 "0",
		"log.cleaner.dedupe.buffer.size":                   "33554432",
		"log.index.size.max.bytes":                         "1048576",
		"broker.session.timeout.ms":                        fmt.Sprint(sessionMs),
		"broker.heartbeat.interval.ms":                     "500",
	}
	if c.opt.SASLSSL {
		maps.Copy(props, c.tls.properties(c.dir))
	}
	maps.Copy(props, c.opt.Props)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(props)) {
		fmt.Fprintf(&b, "%s=%s\n", k, props[k])
	}
	return b.String()
}

// voters is the static quorum: every node is a controller.
func (c *Cluster) voters() string {
	var v []string
	for _, n := range c.nodes {
		v = append(v, fmt.Sprintf("%d@%s", n.id, n.controllerAddr()))
	}
	return strings.Join(v, ",")
}

// logConfig sends Kafka's log to standard output, which is the node's log file.
const logConfig = `<Configuration status="ERROR">
  <Appenders><Console name="out"><PatternLayout pattern="%d{HH:mm:ss.SSS} %-5p %c{1} %m%n"/></Console></Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
`
