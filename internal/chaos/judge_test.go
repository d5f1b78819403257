package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/check"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/opened"
)

// testChecks runs apps of both kinds with a kill, has the ten checks judge what came of it, and
// then has them judge the same with a wrong answer: they read the real formats, of all that they
// look at.
func testChecks(t *testing.T, s *suite) {
	for _, spec := range []jobSpec{{lanes: 2}, {lanes: 2, byItem: true}} {
		name := map[bool]string{false: "one", true: "two"}[spec.byItem]
		j := newJobNamed(t, s, spec, "chaos-checks-"+name)
		c := &judged{j: j, dir: j.dir}
		c.begin()
		m := j.machine("node")
		m.dir = filepath.Join(c.dir, history.DataDir, "node")
		p := m.start()
		load := j.produce(400, c.event)
		for range 2 {
			p.awaitStatus(30*time.Second, "the node runs", allRun)
			load.awaitMore(300)
			c.ask(p, 20)
			p.kill()
			p = m.start()
		}
		load.stop()
		r := j.recountInput(nil)
		j.settle(p, r)
		p.awaitStatus(30*time.Second, "both stages are done", func(st api.AppStatus) string {
			return map[bool]string{true: "it waits"}[st.RepartitionLag > 0]
		})
		c.ask(p, 1)
		c.end(p, r)
		p.kill()
		must(t, opened.Nodes(j.ctx, c.run, c.dir))
		c.judge(r)
	}
}

// judged is a run that is written down for the checks.
type judged struct {
	j      *job
	dir    string
	run    history.Run
	lines  *history.Lines
	follow *check.Follower
	token  string
}

// event is one of wordEvents with a key: whose counter a keyless one is nobody can tell.
func (c *judged) event(i int) *kgo.Record {
	rec := wordEvents(c.j.rand)(i)
	if rec.Key == nil {
		rec.Key = []byte("user-000")
	}
	return rec
}

func (c *judged) begin() {
	j := c.j
	text, err := os.ReadFile(j.specFile)
	must(j.t, err)
	of := history.App{Name: j.app, Input: j.input(), Output: j.output(), Changelog: j.app + ".changelog", Dead: j.app + ".dead",
		ConsumerGroup: j.app, Partitions: partitions, Lanes: j.spec.lanes, Spec: string(text), Local: !j.spec.byItem}
	if j.spec.byItem {
		of.Repartition = j.app + ".repartition"
	}
	c.run = history.Run{Seed: j.s.seed, Nodes: []string{"node"}, Brokers: j.s.cluster.Addrs(), Apps: []history.App{of}}
	must(j.t, history.WriteRun(filepath.Join(c.dir, history.RunFile), c.run))
	c.lines, err = history.Create(filepath.Join(c.dir, history.HistoryFile))
	must(j.t, err)
	c.follow, err = check.Follow(j.ctx, c.run, c.dir)
	must(j.t, err)
}

func (c *judged) write(e history.Event) {
	e.At = time.Now()
	must(c.j.t, c.lines.Write(e))
}

// ask asks for a group, for the largest and for all there is.
func (c *judged) ask(p *process, rounds int) {
	t, j := c.j.t, c.j
	for n := range rounds {
		asked := []byte(groupOf(fmt.Appendf(nil, "user-%03d", n), "kakakaevent"))
		if j.spec.byItem {
			asked = []byte(`["kakakaevent"]`)
		}
		for _, ask := range []string{"get", "top", "scan"} {
			r := history.Read{Reader: "r", Ask: ask, App: j.app, Node: "node", TokenIn: c.token, Began: time.Now()}
			opt := api.ReadOptions{Wait: 5 * time.Second, MinPosition: c.token}
			var err error
			switch ask {
			case "get":
				var a api.GetAnswer
				a, err = p.client().Get(j.ctx, j.app, asked, opt)
				r.Asked, r.TokenOut = string(asked), a.Token
				same(t, a.Parts, &r.Parts)
				if a.Found {
					r.Counts = []history.Count{{Group: string(a.Group), Values: a.Values}}
				}
			case "top":
				var a api.TopAnswer
				a, err = p.client().Top(j.ctx, j.app, 5, opt)
				r.N, r.TokenOut = 5, a.Token
				same(t, a.Parts, &r.Parts)
				same(t, a.Counts, &r.Counts)
			case "scan":
				var end api.End
				end, err = p.client().Scan(j.ctx, j.app, nil, opt, func(n api.Count) error {
					r.Counts = append(r.Counts, history.Count{Group: string(n.Group), Values: append(json.RawMessage{}, n.Values...)})
					return nil
				})
				r.TokenOut = end.Token
				same(t, end.Parts, &r.Parts)
			}
			must(t, err)
			r.Ended, c.token = time.Now(), r.TokenOut
			c.write(history.Event{Kind: history.KindRead, Read: &r})
		}
	}
}

// same carries JSON over from one type to another. A group is text there, and an array here.
func same(t testing.TB, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	must(t, err)
	if counts, ok := from.([]api.Count); ok {
		var texts []history.Count
		for _, n := range counts {
			texts = append(texts, history.Count{Group: string(n.Group), Values: n.Values})
		}
		text, err = json.Marshal(texts)
		must(t, err)
	}
	must(t, json.Unmarshal(text, to))
}

// end writes what the run comes to.
func (c *judged) end(p *process, r recount) {
	j := c.j
	audit := history.Audit{App: j.app, Exact: true, Text: j.verifyAudit(p)}
	must(j.t, c.follow.Stop(j.ctx))
	c.write(history.Event{Kind: history.KindAudit, Audit: &audit})
	end := history.End{QuietAfterMs: 1}
	for topic, p := range map[string]int32{j.input(): 0, j.output(): 0} {
		ends, err := j.s.admin.EndOffsets(j.ctx, topic, false)
		must(j.t, err)
		stable, err := j.s.admin.EndOffsets(j.ctx, topic, true)
		must(j.t, err)
		end.Topics = append(end.Topics, history.Topic{Topic: topic, Partition: p, End: ends[p], LastStable: stable[p]})
	}
	c.write(history.Event{Kind: history.KindEnd, End: &end})
	must(j.t, c.lines.Close())
	c.answer(r, 0)
}

// answer is the suite's recount, with something added to each count.
func (c *judged) answer(r recount, more int64) {
	j := c.j
	out, err := history.Create(filepath.Join(c.dir, history.AnswerFile))
	must(j.t, err)
	if j.spec.byItem {
		for g, v := range wordsOfAll(r) {
			must(j.t, out.Write(history.Answer{App: j.app, Group: string(g), Partition: -1, Final: history.Values{Count: v.count + more}}))
		}
	} else {
		for of, v := range r.counts {
			must(j.t, out.Write(history.Answer{App: j.app, Group: string(of.group), Partition: of.partition, Final: history.Values{Count: v.count + more}}))
		}
	}
	must(j.t, out.Close())
}

func (c *judged) judge(r recount) {
	t := c.j.t
	topics := check.OpenTopics(context.Background(), c.run, c.dir)
	judge := func() *check.Report {
		run, err := check.ReadFolder(c.dir, topics, check.Kinds{})
		must(t, err)
		rep, err := check.Judge(run)
		must(t, err)
		return rep
	}
	rep := judge()
	var text strings.Builder
	must(t, rep.WriteText(&text))
	if !rep.Proved() {
		t.Errorf("not proved:\n%s", text.String())
	}
	t.Log(text.String())
	must(t, topics.SaveAll(c.run)) // from here on without Kafka
	c.answer(r, 1)
	if rep := judge(); rep.Of(check.Rising).Failures == 0 {
		t.Error("a wrong answer is not noticed")
	}
}
