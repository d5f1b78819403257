// Package opened looks into the stores of nodes that are dead, for the checks of a chaos run: it is
// the one place where what judges meets the product's own code for its files.
//
// Invariants:
//
//   - A copy is opened, never the store itself, and only once its node is gone.
//   - What it says of a store is the sum of what is in it; whether that is right the checks say.
//   - A store that says that it is damaged is not one that is wrong: what may have damaged it, the
//     checks know. Any other error of opening is told apart from that.
//
// It may import state, processor/spec, internal/kafka, internal/seam, and what chaos runs write and
// check.
package opened

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tally-kafka/tally/internal/chaos/check"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// Nodes opens the stores that a run's nodes have left, all of them dead, and the copies of those
// that died in mid-run, and writes what they hold to the folder's file of stores, where ReadFolder
// finds it. The follower has stopped, and Kafka still runs.
func Nodes(ctx context.Context, run history.Run, dir string) (err error) {
	admin, err := kafka.NewAdmin(kafka.Config{Brokers: run.Brokers, ClientID: "chaos-opened", Seam: seam.World()})
	if err != nil {
		return err
	}
	defer admin.Close()
	out, err := history.Create(filepath.Join(dir, history.StoreFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	topics := check.OpenTopics(ctx, run, dir)
	for _, a := range run.Apps {
		if a.Passing {
			continue
		}
		id, err := identity(ctx, admin, topics, a)
		if err != nil {
			return fmt.Errorf("app %s: %w", a.Name, err)
		}
		o := opener{ctx: ctx, out: out, id: id, lanes: a.Lanes}
		for _, node := range run.Nodes {
			if err := o.node(filepath.Join(dir, history.DataDir, node, "state"), node, 0); err != nil {
				return err
			}
		}
		if err := history.ListCopies(dir, o.node); err != nil {
			return err
		}
	}
	return nil
}

// identity is whose store it is, put together from outside.
func identity(ctx context.Context, admin *kafka.Admin, topics *check.Topics, a history.App) (id state.Identity, err error) {
	s, err := spec.Parse([]byte(a.Spec), a.Name)
	if err != nil {
		return id, err
	}
	id = state.Identity{App: a.Name, Generation: 1, Fingerprint: s.Fingerprint()}
	if id.AppID, err = topics.AppID(a); err != nil {
		return id, err
	}
	if id.KafkaCluster, err = admin.ClusterID(ctx); err != nil {
		return id, err
	}
	input, _, err := admin.Topic(ctx, a.Input)
	if err != nil {
		return id, err
	}
	changelog, _, err := admin.Topic(ctx, a.Changelog)
	id.InputTopicID, id.ChangelogTopicID = input.ID, changelog.ID
	return id, err
}

// opener opens the stores of one app.
type opener struct {
	ctx   context.Context
	out   *history.Lines
	id    state.Identity
	lanes int
}

// node opens all lanes' stores that a node has left after one of its starts.
func (o *opener) node(dir, node string, start int) error {
	for lane := range o.lanes {
		o.id.Lane = lane
		if err := o.one(filepath.Join(dir, o.id.App, strconv.Itoa(lane)), node, start); err != nil {
			return fmt.Errorf("the store of %s/%d at %s: %w", o.id.App, lane, node, err)
		}
	}
	return nil
}

// one opens a copy of a store, if there is one.
func (o *opener) one(from, node string, start int) (err error) {
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	copied, err := os.MkdirTemp("", "chaos-opened-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(copied)
	if err := os.CopyFS(filepath.Join(copied, "store"), os.DirFS(from)); err != nil {
		return err
	}
	all, err := sums(o.ctx, filepath.Join(copied, "store"), o.id)
	if err != nil {
		if o.ctx.Err() != nil {
			return err
		}
		s := history.Store{App: o.id.App, Node: node, Start: start, Partition: int32(o.id.Lane)}
		if !errors.Is(err, state.ErrDamaged) {
			s.Refused = err.Error()
			return o.out.Write(s)
		}
		s.Damaged = err.Error() // it says so, and would be built again
		if s.Files, err = names(from); err != nil {
			return err
		}
		return o.out.Write(s)
	}
	for _, s := range all {
		s.App, s.Node, s.Start = o.id.App, node, start
		if err := o.out.Write(s); err != nil {
			return err
		}
	}
	return nil
}

// names are those of a folder's files.
func names(dir string) (names []string, err error) {
	files, err := os.ReadDir(dir)
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names, err
}

// sums are what each task in a store has.
func sums(ctx context.Context, dir string, id state.Identity) (all []history.Store, err error) {
	store, err := state.Open(dir, id, state.Options{Seam: seam.World()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Abandon()) }()
	cut, err := store.Cut()
	if err != nil {
		return nil, err
	}
	defer cut.Close()
	for task, pos := range cut.Positions() {
		s := history.Store{Stage: task.Stage, Partition: task.Partition, Changelog: pos.Changelog}
		err := cut.Scan(ctx, task, nil, func(group, values []byte) error {
			s.Groups++
			s.Digest = check.AddDigest(s.Digest, group, values)
			return nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}
