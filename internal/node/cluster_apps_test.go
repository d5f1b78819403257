package node

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
)

// beside is a second app's corner of the same Kafka.
func (b *band) beside(name string, partitions int) *band {
	b.t.Helper()
	p := *b.place
	p.app = b.app + "-" + name
	p.in, p.out = p.app+".in", p.app+".out"
	p.topic(p.in, partitions)
	p.topic(p.out, partitions)
	return &band{place: &p, nodes: b.nodes, addrs: b.addrs, standbys: b.standbys}
}

// running is beside, with the app submitted and running.
func (b *band) running(name string, partitions int) *band {
	b.t.Helper()
	other := b.beside(name, partitions)
	_, err := other.submit(0, wordcount)
	b.must(err)
	other.appRuns()
	return other
}

// submit gives the cluster a spec at one of its nodes.
func (b *band) submit(node int, text string) (api.SubmitAnswer, error) {
	b.t.Helper()
	s := b.spec(text)
	return b.nodes[node].client.Submit(b.ctx(), s.App, s.YAML(), api.SubmitRequest{})
}

// appRuns waits until every lane of the app runs at some node, and returns its status.
func (b *band) appRuns() (app api.AppStatus) {
	b.t.Helper()
	until(b.t, func() error {
		st, err := b.alive()[0].client.Status(b.ctx())
		if err != nil {
			return err
		}
		for _, a := range st.Apps {
			app = a
			if a.App == b.app && len(a.Lanes) > 0 && allRun(a) {
				return nil
			}
		}
		return fmt.Errorf("app %s does not run: %+v", b.app, st.Apps)
	})
	return app
}

func allRun(a api.AppStatus) bool {
	for _, l := range a.Lanes {
		if l.State != api.LaneRunning {
			return false
		}
	}
	return true
}

// gone waits until no node has anything of the app.
func (b *band) gone() {
	b.t.Helper()
	until(b.t, func() error {
		for _, n := range b.alive() {
			st, err := n.client.Status(b.ctx())
			if err != nil {
				return err
			}
			for _, a := range st.Apps {
				if a.App == b.app {
					return fmt.Errorf("%s still has app %s", n.url, a.App)
				}
			}
			for _, left := range []string{filepath.Join("state", b.app), filepath.Join("apps", b.app+".yaml")} {
				if _, err := os.Stat(filepath.Join(n.dir, left)); !errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("%s is left in %s (%v)", left, n.dir, err)
				}
			}
		}
		return nil
	})
}

// An app can be asked about at each node as soon as it is submitted: what a command has to know of
// it is in the cluster's log, and a read waits until the app is open.
func TestBandAskedAtOnce(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3)
	other := b.beside("two", 2)
	sent := sentences(2, 40)
	other.send(sent...)
	_, err := other.submit(0, wordcount)
	p.must(err)
	var all sync.WaitGroup
	defer all.Wait()
	for i, n := range b.nodes {
		all.Go(func() {
			info, err := n.client.App(p.ctx(), other.app)
			if err != nil || info.Lanes != 2 || len(info.Partitions) != 2 || info.Source != other.in {
				t.Errorf("node %d: %+v (%v)", i, info, err)
			}
			if _, err := n.client.Top(p.ctx(), other.app, 5, api.ReadOptions{Wait: 10 * time.Second, Fresh: true}); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
	}
}

// The same spec, submitted by three nodes at once: one app.
func TestBandSubmitsAtOnce(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3)
	other := b.beside("two", 2)
	var all sync.WaitGroup
	answers, errs := make([]api.SubmitAnswer, 3), make([]error, 3)
	for i := range b.nodes {
		all.Go(func() { answers[i], errs[i] = other.submit(i, wordcount) })
	}
	all.Wait()
	added := 0
	for i := range b.nodes {
		p.must(errs[i])
		if answers[i].Generation != 1 || answers[i].Lanes != 2 {
			t.Errorf("answer %d: %+v", i, answers[i])
		}
		if answers[i].Change == api.ChangeAdded {
			added++
		}
	}
	if added == 0 {
		t.Errorf("nobody has added the app: %+v", answers)
	}
	sent := sentences(2, 40)
	other.send(sent...)
	other.exact(sent)
	id := other.appRuns().AppID
	for _, n := range b.nodes {
		st, err := n.client.Status(p.ctx())
		p.must(err)
		for _, a := range st.Apps {
			if a.App == other.app && a.AppID != id {
				t.Errorf("two ids of one app: %s and %s", a.AppID, id)
			}
		}
	}
}

// A second app comes and goes while the first counts on. Without its topics it goes on where it was
// when it is submitted again; with them it begins anew.
func TestBandSubmitsAndDeletes(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3)
	load := p.stream(4)
	other := b.beside("two", 2)
	_, err := other.submit(0, wordcount)
	p.must(err)
	sent := sentences(2, 40)
	other.send(sent...)
	other.exact(sent)

	if answer, err := b.nodes[1].client.Delete(p.ctx(), other.app, false); err != nil || len(answer.Topics) != 0 {
		t.Fatalf("delete: %+v, %v", answer, err)
	}
	other.gone()
	more := sentences(2, 30)
	other.send(more...)
	_, err = other.submit(2, wordcount)
	p.must(err)
	other.exact(append(sent, more...))

	answer, err := b.nodes[2].client.Delete(p.ctx(), other.app, true)
	p.must(err)
	if strings.Join(answer.Topics, " ") != other.app+".dead "+other.app+".changelog" {
		t.Errorf("deleted: %+v", answer)
	}
	other.gone()
	if offsets, err := other.admin.GroupOffsets(p.ctx(), other.app, other.in); err != nil || len(offsets) > 0 {
		t.Errorf("the consumer group has offsets %v (%v)", offsets, err)
	}
	_, err = other.submit(1, wordcount)
	p.must(err)
	other.counted(append(sent, more...))
	until(t, func() error { // the output begins anew, behind that of before
		if got, want := other.outputsOf(2), count(append(sent, more...)); !maps.Equal(got, want) {
			return fmt.Errorf("the output's last values\n got %v\nwant %v", got, want)
		}
		return nil
	})
	b.exact(load())
}

// A spec may be changed where that changes no count, and is refused field by field where it would.
func TestBandSpecChanges(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2)
	load := p.stream(4)
	answer, err := b.submit(0, wordcount+"on_error: skip\n")
	if err != nil || answer.Change != api.ChangeUpdated {
		t.Fatalf("on_error: %+v, %v", answer, err)
	}
	until(t, func() error { // every node runs it under the new spec
		for i, n := range b.nodes {
			info, err := n.client.App(p.ctx(), p.app)
			if err != nil || !strings.Contains(info.Spec, "on_error: skip") {
				return fmt.Errorf("%s: %v %+v", nodeName(i), err, info)
			}
		}
		return nil
	})
	if answer, err = b.submit(1, wordcount+"on_error: skip\n"); err != nil || answer.Change != api.ChangeNone {
		t.Errorf("the same again: %+v, %v", answer, err)
	}
	b.whole()
	_, err = b.submit(0, strings.Replace(wordcount, "[key, item]", "[key]", 1)+"aggregates: {n: count, m: count}\n")
	says(t, err, "nothing was submitted", "group", "aggregates", "reset")
	b.exact(load())
}

// What cannot run is refused, and nothing changes.
func TestBandRefusesSubmits(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2)
	nowhere := *b.place
	nowhere.app, nowhere.in, nowhere.out = p.app+"-x", "no-such-topic", p.app+"-x.out"
	s := nowhere.spec(wordcount)
	_, err := b.nodes[1].client.Submit(p.ctx(), s.App, s.YAML(), api.SubmitRequest{})
	says(t, err, "nothing was submitted", "no-such-topic")
	st, err := b.nodes[0].client.Status(p.ctx())
	if err != nil || len(st.Apps) != 1 {
		t.Errorf("apps %+v, %v", st.Apps, err)
	}
	// Another spec under the name of an app that has hardly begun, so that no record speaks of it.
	young := *b.place
	young.app, young.out = p.app+"-y", p.app+"-y.out"
	p.topic(young.out, 4)
	s = young.spec(wordcount)
	if _, err := b.nodes[0].client.Submit(p.ctx(), s.App, s.YAML(), api.SubmitRequest{}); err != nil {
		t.Fatal(err)
	}
	s = young.spec(strings.Replace(wordcount, "split: words", "split: lines", 1) + "lanes: 2\n")
	_, err = b.nodes[1].client.Submit(p.ctx(), s.App, s.YAML(), api.SubmitRequest{})
	says(t, err, "does not fit", "split: counted with words, now lines", "lanes: counted with 4, now 2", "another `app:` name")
	_, err = b.nodes[0].client.Delete(p.ctx(), "nothing", false)
	says(t, err, "no app", "nothing", p.app)
	_, err = b.nodes[0].client.Move(p.ctx(), p.app, 9, api.MoveRequest{To: "node-b"})
	says(t, err, "no lane", "9", "0 to 3")
	_, err = b.nodes[0].client.Move(p.ctx(), p.app, 0, api.MoveRequest{To: "node-z"})
	says(t, err, "no node", "node-z", "node-a, node-b")
	_, err = b.nodes[0].client.Drain(p.ctx(), "node-z", api.DrainRequest{})
	says(t, err, "no node", "node-z")
}

// An app that was deleted while a node was down does not come back with it.
func TestBandDeletesBehindANode(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3)
	other := b.running("two", 2)
	until(t, func() error {
		_, err := os.Stat(filepath.Join(b.nodes[2].dir, "apps", other.app+".yaml"))
		return err
	})
	b.nodes[2].stop()
	_, err := b.nodes[0].client.Delete(p.ctx(), other.app, true)
	p.must(err)
	b.nodes[2] = b.launch(2, inDir(b.nodes[2].dir), func(c *Config) { c.Specs = []*spec.Spec{} })
	other.nodes = b.nodes
	b.until("it is back", b.hasLane("node-c"))
	other.gone()
}

// An app that was deleted while a node was down, and submitted anew under its name, is another app:
// the node takes part in it, and nothing of the old state is in its counts.
func TestBandReplacesAnAppBehindANode(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1))
	other := b.beside("two", 4)
	_, err := other.submit(0, wordcount)
	p.must(err)
	old := []*kgo.Record{event(0, "a", "x"), event(1, "b", "x y")}
	other.send(old...)
	other.appRuns()
	other.counted(old)
	state := filepath.Join(b.nodes[2].dir, "state", other.app)
	until(t, func() error {
		_, err := os.Stat(state)
		return err
	})
	b.nodes[2].stop()
	_, err = b.nodes[0].client.Delete(p.ctx(), other.app, true)
	p.must(err)
	_, err = other.submit(0, wordcount)
	p.must(err)
	other.appRuns()
	b.nodes[2] = b.launch(2, inDir(b.nodes[2].dir), standbys(1))
	other.nodes = b.nodes
	b.nodes[2].isReady()
	now := []*kgo.Record{event(0, "a", "z"), event(1, "c", "x")}
	other.send(now...)
	for lane := range 4 { // each has been at the node that was away
		until(t, func() error { // once the leader has heard of it
			_, err := b.nodes[0].client.Move(b.ctx(), other.app, lane, api.MoveRequest{To: "node-c"})
			return err
		})
		until(t, func() error {
			if l := other.appRuns().Lanes[lane]; l.Owner != "node-c" {
				return fmt.Errorf("lane %+v", l)
			}
			return nil
		})
	}
	other.counted(append(old, now...))
	if b.nodes[2].log.count("cannot run on this node") > 0 {
		t.Error("the node could not open the app")
	}
}

// An app that cannot be opened stops no other one; the status and the readiness say why.
func TestBandOfTwoAppsOneUnfit(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2)
	other := b.running("two", 2)
	b.nodes[1].stop()
	p.must(p.admin.DeleteTopics(p.ctx(), other.in))
	b.nodes[1] = b.launch(1, inDir(b.nodes[1].dir), func(c *Config) { c.Specs = []*spec.Spec{} })
	sent := b.events(40, 0)
	b.send(sent...)
	b.nodes[1].until("it has a lane of the app that can run", func(st api.Status) bool {
		for _, a := range st.Apps {
			for _, l := range a.Lanes {
				if a.App == b.app && l.Owner == "node-b" && l.State == api.LaneRunning {
					return true
				}
			}
		}
		return false
	})
	b.counted(sent)
	until(t, func() error {
		if why := b.nodes[1].page("/readyz"); !strings.Contains(why, other.app) || !strings.Contains(why, other.in) || strings.Contains(why, b.app+" lane") {
			return fmt.Errorf("not ready: %q", why)
		}
		return nil
	})
}

// The caches of an app shrink to its share when another app comes.
func TestBandSharesMemory(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	b := p.band(1, func(c *Config) { c.Memory = 4 << 20 })
	var events []*kgo.Record
	for i := range 400 {
		var text strings.Builder
		for k := range 40 {
			fmt.Fprintf(&text, "w%da%d ", i, k)
		}
		events = append(events, event(0, "k", text.String()))
	}
	b.send(events...)
	b.nodes[0].settled(400)
	before := b.nodes[0].metric("tally_store_cache_bytes", b.app)
	_, err := b.beside("two", 1).submit(0, wordcount)
	p.must(err)
	until(t, func() error {
		// 3/8 of half of the memory; before, it was of all of it.
		if now := b.nodes[0].metric("tally_store_cache_bytes", b.app); before <= 768<<10 || now > 768<<10 {
			return fmt.Errorf("the cache had %d bytes and has %d", before, now)
		}
		return nil
	})
}

// metric is the sum of a metric over the lanes of an app.
func (n *tally) metric(name, app string) (sum int) {
	n.t.Helper()
	for line := range strings.Lines(n.page("/metrics")) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, `"`+app+`"`) {
			v, err := strconv.ParseFloat(strings.Fields(line)[1], 64)
			n.p.must(err)
			sum += int(v)
		}
	}
	return sum
}

// page is what a path answers, whatever the status.
func (n *tally) page(path string) string {
	n.t.Helper()
	resp, err := http.Get(n.url + path)
	n.p.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	n.p.must(err)
	return string(text)
}
