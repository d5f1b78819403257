package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/cluster"
)

// Recover makes the stopped node of a data dir the only voter of its cluster, for when most voters
// are lost for good, and says in sentences what it has done. addr is where the node is reached from
// now on, "" for where it was. Counts are not touched: Kafka has them.
func Recover(path, addr string, sm seam.Seam, log *slog.Logger) (string, error) {
	if _, err := os.Stat(filepath.Join(path, "raft")); err != nil {
		return "", fmt.Errorf("%s is not the data dir of a node that has been in a cluster: %w", path, err)
	}
	if _, err := os.Stat(filepath.Join(path, "node.json")); err != nil { // a new id would be no voter's
		return "", fmt.Errorf("%s does not say which node it is of: put its node.json back, or recover another node: %w", path, err)
	}
	d, err := openDataDir(path, sm)
	var inUse *inUseError
	if errors.As(err, &inUse) {
		return "", fmt.Errorf("the node of %s runs (pid %s): stop it first, recover it, and start it again", path, inUse.pid)
	}
	if err != nil {
		return "", err
	}
	defer d.close()
	done, err := cluster.Recover(path, d.id.ID, addr, sm, log)
	if err != nil {
		return "", err
	}
	return done.String(), nil
}
