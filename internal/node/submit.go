package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

// standbyCount is how many standbys each lane of an app gets that is submitted.
type standbyCount struct {
	n     int
	asked bool // also of an app that there is; else only of a new one
}

// of is what an app gets that the cluster has before, nil for none.
func (c standbyCount) of(before *ownership.App) int {
	if before != nil && !c.asked {
		return before.Standbys
	}
	return c.n
}

// sayStandbys names the apps whose number of standbys is not the one that this node was started
// with: that is of new apps.
func (n *Node) sayStandbys() {
	for _, a := range n.cluster.State().SortedApps() {
		if n.cfg.StandbysSaid && a.Standbys != n.cfg.Standbys {
			n.cfg.Log.Warn(fmt.Sprintf("--standbys is for apps that are new: app %[1]s keeps %[2]d; to give it %[3]d, run `tally submit --standbys %[3]d FILE` with its spec",
				a.Name, a.Standbys, n.cfg.Standbys))
		}
	}
}

// submit gives the cluster an app, or an app another spec or another number of standbys. Nothing is
// submitted that could not run, and nothing changes when the cluster has the same. It returns one
// of the api's Change constants, or a haltedError while the app is being reset: its topics may be
// half deleted.
func (n *Node) submit(ctx context.Context, s *spec.Spec, standbys standbyCount) (change string, err error) {
	if err := n.awaitDropped(ctx, s.App); err != nil {
		return "", err
	}
	in, err := n.dir.loadIntent(s.App)
	if err != nil {
		return "", err
	}
	for {
		rec := n.cluster.State().Apps[s.App]
		change = api.ChangeUpdated
		switch {
		case rec == nil && in != nil:
			return api.ChangeAdded, n.submitHalted(ctx, s, in, standbys.n)
		case rec == nil:
			change = api.ChangeAdded
		case rec.Halted != "": // what it is halted for may take it away, whatever the spec says
			return "", &haltedError{rec.Halted}
		case rec.Spec == string(s.YAML()) && rec.Standbys == standbys.of(rec):
			return api.ChangeNone, nil
		case in != nil && !in.updated(rec):
			return "", &haltedError{n.resetting()}
		case rec.Spec == string(s.YAML()):
			change = api.ChangeStandbys
		}
		record, err := n.recordFor(ctx, s, rec)
		if err != nil {
			return "", err
		}
		if now := n.cluster.State().Apps[s.App]; now != rec && !(sameLife(rec, now) && rec.Standbys == now.Standbys) {
			continue // a look at Kafka takes seconds: what was changed meanwhile must not be undone
		}
		record.Standbys = standbys.of(rec)
		var unsure *consensus.UncertainError
		if err := n.put(ctx, record, rec); !errors.Is(err, errRecord) && !errors.As(err, &unsure) || ctx.Err() != nil {
			return change, err
		} // else another may have submitted meanwhile, or this try was taken: look at that
	}
}

// recordFor is what the cluster is to know of an app that is submitted. Of one that has the spec
// already it is what is known, without the lanes, which the log keeps; any other is examined first.
func (n *Node) recordFor(ctx context.Context, s *spec.Spec, before *ownership.App) (ownership.App, error) {
	if before != nil && before.Spec == string(s.YAML()) {
		record := *before
		record.Lanes = make([]ownership.Lane, len(before.Lanes))
		return record, nil
	}
	asked := &ownership.App{Name: s.App, Spec: string(s.YAML()), KafkaCluster: n.kafkaCluster}
	if why := n.vet(n.cluster.State(), asked); why != "" {
		return ownership.App{}, conflict(why, "")
	}
	a, err := n.examined(ctx, s, before)
	if err != nil {
		return ownership.App{}, err
	}
	n.guarded(func() { n.watched[s.App] = n.cfg.Seam.Now() })
	return a.newRecord(before), nil
}

// awaitDropped waits until this node has given up an app that was deleted, with what is left of a
// reset of it.
func (n *Node) awaitDropped(ctx context.Context, name string) error {
	for {
		var dropping bool
		n.guarded(func() { dropping = n.hosts[name] != nil })
		if !dropping || n.cluster.State().Apps[name] != nil {
			return nil
		}
		if err := n.cfg.Seam.Sleep(ctx, retryPause); err != nil {
			return err
		}
	}
}

// put gives the cluster a record of an app in the place of the one before.
func (n *Node) put(ctx context.Context, record ownership.App, before *ownership.App) error {
	put := &ownership.PutApp{App: record}
	if before != nil {
		put.Expect = before.Generation
	}
	res, err := n.cluster.Propose(ctx, ownership.Command{PutApp: put})
	switch {
	case err != nil:
		return fmt.Errorf("submit app %s: %w", record.Name, err)
	case res.Code == ownership.Stale, res.Code == ownership.Taken, res.Code == ownership.NotFound:
		return errRecord // another has submitted, reset or deleted it meanwhile
	case res.Refused != "":
		return errors.New(res.Refused)
	}
	return nil
}

// submitHalted gives the cluster an app that is to be reset before it runs again: nothing of it has
// to fit until then.
func (n *Node) submitHalted(ctx context.Context, s *spec.Spec, in *intent, standbys int) error {
	rec := ownership.App{
		Name: s.App, Spec: string(s.YAML()), ID: or(in.AppID, n.cfg.Seam.NewID()), Generation: max(in.Generation-1, 1), Partitions: 1,
		Standbys: standbys, KafkaCluster: n.kafkaCluster, Halted: n.resetting(), Intent: n.mine(in).log(), Lanes: make([]ownership.Lane, 1),
	}
	res, err := n.cluster.Propose(ctx, ownership.Command{PutApp: &ownership.PutApp{App: rec}})
	if err == nil && res.Refused != "" && res.Code != ownership.Taken {
		err = errors.New(res.Refused)
	}
	return err
}

// examined checks everything of a spec that can be refused, and makes nothing.
func (n *Node) examined(ctx context.Context, s *spec.Spec, rec *ownership.App) (*app, error) {
	var a *app
	err := n.patiently(ctx, openTimeout, func(ctx context.Context) (err error) {
		a, err = n.examine(ctx, s, rec)
		return err
	})
	return a, err
}
