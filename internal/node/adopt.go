package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tally-kafka/tally/processor/spec"
)

// A data dir may have apps that its cluster's log does not: it was used before there were clusters,
// or its raft/ is gone, or it was in another cluster. A node that was told to be in a cluster of
// others says so and leaves them alone. One that is a cluster by itself adopts them: it submits the
// stored specs. Whether that is done is on disk, and is only so when the log has all of them: until
// then an app that is not in the log was not deleted, whatever the node died of on the way.

// adoption is raft/adopted.json: each app that the data dir has is, or was, in the log beside it.
// It is there so that who removes the log removes what was known of it: the next one of a lone node
// is of a cluster of the same id.
type adoption struct {
	ClusterID string `json:"cluster_id"`
}

func (d *dataDir) adoptionFile() string { return filepath.Join(d.path, "raft", "adopted.json") }

// adopted reports whether every app of the data dir is, or was, in the log of this cluster. A file
// that cannot be read says nothing: then nothing is taken for deleted.
func (d *dataDir) adopted(cluster string) bool {
	var a adoption
	data, err := os.ReadFile(d.adoptionFile())
	return err == nil && json.Unmarshal(data, &a) == nil && a.ClusterID == cluster
}

// markAdopted returns when that is durable.
func (d *dataDir) markAdopted(cluster string) error {
	data, err := json.Marshal(adoption{ClusterID: cluster})
	if err != nil {
		return err
	}
	if err := writeFile(d.adoptionFile(), append(data, '\n')); err != nil {
		return err
	}
	return syncDir(filepath.Dir(d.adoptionFile()))
}

// submitSpecs gives the cluster the specs of the command line, or, where there are none, those that
// the data dir is adopted with.
func (n *Node) submitSpecs(ctx context.Context) error {
	if n.dir.adopted(n.clusterID()) {
		return n.submitAll(ctx, n.cfg.Specs)
	}
	alone := n.isAlone()
	if alone {
		old, err := n.dir.leftovers()
		if err != nil {
			return err
		}
		n.guarded(func() { n.adopted = old })
	}
	err := n.submitAll(ctx, n.cfg.Specs)
	if err == nil && alone && len(n.cfg.Specs) == 0 {
		err = n.submitStored(ctx)
	}
	if err != nil {
		return err
	}
	return n.endAdoption()
}

func (n *Node) submitAll(ctx context.Context, specs []*spec.Spec) error {
	seen := map[string]bool{}
	for _, s := range specs {
		if seen[s.App] {
			return fmt.Errorf("two of the specs are of app %s: give each its own `app:` name", s.App)
		}
		seen[s.App] = true
	}
	for _, s := range specs {
		if err := n.submitAtStart(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// isAlone reports whether this node is a cluster by itself, and was not told to join another.
func (n *Node) isAlone() bool { return len(n.cfg.Join) == 0 && len(n.cluster.State().Members) == 1 }

// submitStored submits the specs of the data dir. One that is refused ends the node, as it did
// before: the next start begins with all of them again.
func (n *Node) submitStored(ctx context.Context) error {
	specs, err := n.dir.storedSpecs()
	if err != nil {
		return err
	}
	for _, s := range specs {
		if err := n.submitAtStart(ctx, s); err != nil {
			return fmt.Errorf("app %s, which this data dir has run before: %w (to start without it, remove %s and %s)",
				s.App, err, n.dir.appFile(s.App), n.dir.stateDir(s.App))
		}
	}
	return nil
}

// endAdoption marks the data dir as adopted if the log has every app of it, and else says which it
// has not.
func (n *Node) endAdoption() error {
	apps, err := n.dir.apps()
	if err != nil {
		return err
	}
	st := n.cluster.State()
	apps = slices.DeleteFunc(apps, func(app string) bool { return st.Apps[app] != nil })
	if len(apps) == 0 {
		return n.dir.markAdopted(st.ClusterID)
	}
	n.cfg.Log.Warn("the data dir has apps that this cluster does not: they stay as they are until the specs are given to it with `tally submit`, "+
		"or these files are removed", "apps", apps, "files", n.dir.filesOf(apps))
	return nil
}

// filesOf are the places of what the data dir has of apps.
func (d *dataDir) filesOf(apps []string) (files []string) {
	for _, app := range apps {
		for _, path := range []string{d.appFile(app), d.intentFile(app), d.stateDir(app)} {
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				files = append(files, path)
			}
		}
	}
	return files
}
