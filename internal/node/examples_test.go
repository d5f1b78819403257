package node

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/processor/spec"
)

// The specs in examples run as they stand, over an input of several partitions.
func TestExamples(t *testing.T) {
	for _, c := range []struct {
		file, topic string
		lines       []string
		want        map[string]string
	}{
		{"topwords", "lines", []string{"Spark and Kafka", "kafka, KAFKA!", "", "Größe-42 and more", "and so on"},
			map[string]string{
				`["spark"]`: `{"count":1}`, `["and"]`: `{"count":3}`, `["kafka"]`: `{"count":3}`, `["größe"]`: `{"count":1}`,
				`["42"]`: `{"count":1}`, `["more"]`: `{"count":1}`, `["so"]`: `{"count":1}`, `["on"]`: `{"count":1}`,
			}},
		{"revenue", "orders", []string{
			`{"id":17,"status":"paid","customer":{"country":"DE"},"amount":12.50}`,
			`{"id":18,"status":"paid","customer":{"country":"FR"},"amount":0.05}`,
			`{"id":19,"status":"open","customer":{"country":"DE"},"amount":99}`,
			`{"id":20,"status":"paid","test":true,"customer":{"country":"DE"},"amount":1}`,
			`{"id":21,"status":"shipped","customer":{"country":"DE"},"amount":0.10}`,
			`{"id":22,"status":"shipped","customer":{"country":"DE"},"amount":"7"}`,
			`{"id":23,"status":"shipped","customer":{"country":null},"amount":3}`,
		}, map[string]string{
			`["DE"]`: `{"revenue":12.6,"orders":2,"largest":12.5}`,
			`["FR"]`: `{"revenue":0.05,"orders":1,"largest":0.05}`,
			`[null]`: `{"revenue":3,"orders":1,"largest":3}`,
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			p := onFake(t)
			text, err := os.ReadFile("../../examples/" + c.file + ".yaml")
			p.must(err)
			s, err := spec.Parse(text, c.file)
			p.must(err)
			p.app, p.in, p.out = s.App, s.Input.Topic, s.Output.Topic
			p.topic(c.topic, 3)
			for i, line := range c.lines {
				p.send(event(int32(i%3), fmt.Sprint(i), line))
			}
			n := p.start(running(s))
			st := n.settled(int64(len(c.lines)))
			if st.Stages != 2 {
				t.Errorf("it has %d stages", st.Stages)
			}
			n.has(c.want)
			until(t, func() error {
				last := map[string]string{}
				for _, r := range p.read(p.out) {
					last[string(r.Key)] = string(r.Value)
				}
				if !maps.EqualFunc(last, c.want, func(out, want string) bool { return strings.HasSuffix(out, want[1:]) }) {
					return fmt.Errorf("the outputs end at %v", last)
				}
				return nil
			})
		})
	}
}
