package node

import (
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// A node that has started, and not reached Kafka yet, names the apps that it knows of, and what
// they wait for.
func TestAppsWhileKafkaIsDown(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start()
	n.stop()
	n = p.launch(inDir(n.dir), noSpecs(), func(c *Config) {
		c.Brokers, c.UnreachableAt = []string{testkafka.FreeAddr(t)}, 200*time.Millisecond
	})
	st := n.until("the app waits for Kafka", func(st api.Status) bool {
		return len(st.Apps) == 1 && len(st.Apps[0].Lanes) == 2 && strings.Contains(st.Apps[0].Lanes[1].Reason, "Kafka does not answer")
	})
	if a := st.Apps[0]; a.App != p.app || a.Input != p.in || a.Output != p.out || a.Lanes[0].State != api.LaneAcquiring {
		t.Errorf("it says of the app %+v", a)
	}
}
