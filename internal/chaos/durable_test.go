package chaos

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// durable is what each lane's store has of the changelog: the sum of the next offsets of its
// partitions, of which each counts for the task in it that has come least far. It opens a copy of a
// dead node's data, whose stores have no write-ahead log, so that what opens is what was durable. A
// lane without a store is not in it, nor is any before the app's first barrier.
func (m *machine) durable() map[int]int64 {
	m.job.t.Helper()
	from := filepath.Join(m.dir, "state", m.job.app)
	lanes, err := os.ReadDir(from)
	if os.IsNotExist(err) || m.job.appID() == "" {
		return nil
	}
	must(m.job.t, err)
	found := map[int]int64{}
	for _, lane := range lanes {
		var k int
		if _, err := fmt.Sscanf(lane.Name(), "%d", &k); err != nil {
			continue
		}
		copied := filepath.Join(m.job.dir, "copy")
		must(m.job.t, os.RemoveAll(copied))
		must(m.job.t, os.CopyFS(copied, os.DirFS(filepath.Join(from, lane.Name()))))
		found[k] = m.durableLane(copied, k)
	}
	return found
}

func (m *machine) durableLane(dir string, lane int) (sum int64) {
	t := m.job.t
	t.Helper()
	store, err := state.Open(dir, m.job.identity(lane), state.Options{Seam: seam.World()})
	must(t, err)
	defer func() { must(t, store.Abandon()) }()
	from := map[int32]int64{}
	for task, pos := range store.Positions() {
		if at, ok := store.Durable(task); !ok || at != pos.Changelog {
			t.Errorf("lane %d opens at changelog offset %d of %v, of which %d is durable", lane, pos.Changelog, task, at)
		}
		if at, ok := from[task.Partition]; !ok || pos.Changelog < at {
			from[task.Partition] = pos.Changelog
		}
	}
	for _, at := range from {
		sum += at
	}
	return sum
}

// identity is whose store it is, put together from outside.
func (j *job) identity(lane int) state.Identity {
	j.t.Helper()
	input, _, err := j.s.admin.Topic(j.ctx, j.input())
	must(j.t, err)
	changelog, _, err := j.s.admin.Topic(j.ctx, j.app+".changelog")
	must(j.t, err)
	text, err := os.ReadFile(j.specFile)
	must(j.t, err)
	s, err := spec.Parse(text, j.specFile)
	must(j.t, err)
	return state.Identity{
		KafkaCluster: j.s.cluster.ID(), App: j.app, AppID: j.appID(), Lane: lane, InputTopicID: input.ID,
		ChangelogTopicID: changelog.ID, Generation: 1, Fingerprint: s.Fingerprint(),
	}
}

// wantRestoreFrom: each lane that a start has restored began at what was durable before that
// start.
func (p *process) wantRestoreFrom(durable map[int]int64) (lanes int) {
	p.t.Helper()
	for lane, r := range p.restored() {
		if r.FromOffset != durable[lane] {
			p.t.Errorf("start %d restored lane %d from changelog offset %d; durable were %d",
				p.m.starts, lane, r.FromOffset, durable[lane])
		}
		lanes++
	}
	return lanes
}
