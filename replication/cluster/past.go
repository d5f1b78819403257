package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// past is cluster.json in the data dir: the cluster that this node has been in, and where it was
// reached then. It outlives the directory raft, so that a node which has lost that is told from a
// new one.
type past struct {
	ClusterID string `json:"cluster_id"`
	NodeID    string `json:"node_id"`
	Addr      string `json:"addr"`
}

const pastFile = "cluster.json"

func readPast(dataDir string) (past, error) {
	var p past
	path := filepath.Join(dataDir, pastFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("data dir: %w", err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("%s is damaged (%w): remove it, node.json and raft beside it to make this a new node", path, err)
	}
	return p, nil
}

// write replaces the file so that a crash leaves the old or the new one.
func (p past) write(dataDir string) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	path := filepath.Join(dataDir, pastFile)
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return fmt.Errorf("data dir: %w", err)
	}
	if _, err = f.Write(append(data, '\n')); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("data dir: %w", err)
	}
	return os.Rename(path+".tmp", path)
}

// ofNode refuses a data dir that is another node's than node.json says.
func (p past) ofNode(dataDir, id string) error {
	if p.NodeID == "" || p.NodeID == id {
		return nil
	}
	return fmt.Errorf("%s is of node %s, and node.json of node %s: remove %s, node.json and raft there to make this a new node",
		filepath.Join(dataDir, pastFile), p.NodeID, id, pastFile)
}

// check refuses a data dir that is another node's, or that has lost its log.
func (p past) check(c Config, empty bool) error {
	if err := p.ofNode(c.DataDir, c.ID); err != nil {
		return err
	}
	if empty && p.ClusterID != "" {
		return fmt.Errorf("this node has been in cluster %s, and its log (%s) is gone, with its votes: "+
			"remove node.json and %s there as well, and it joins as a new node", p.ClusterID, filepath.Join(c.DataDir, "raft"), pastFile)
	}
	return nil
}
