package node

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/txn"
)

// watched is a lane's session whose commits are timed. One that Kafka does not acknowledge ends
// after txn's CommitTimeout only, and until then nothing else would say why nothing is counted.
type watched struct {
	*txn.Session
	lane *lane
}

// Poll is the session's.
func (w watched) Poll(ctx context.Context, max int) (recs []*kgo.Record, waiting int64, err error) {
	recs, waiting, err = w.Session.Poll(ctx, max)
	if len(recs) > 0 {
		w.lane.app.arrived()
	}
	return recs, waiting, err
}

// Commit is the session's.
func (w watched) Commit(ctx context.Context, offsets txn.Offsets) (txn.Outcome, error) {
	w.lane.commits(w.lane.seam().Now())
	defer w.lane.commits(time.Time{})
	w.lane.phase("commit begins")
	defer w.lane.phase("commit ends")
	return w.Session.Commit(ctx, offsets)
}

func (l *lane) commits(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.committing = since
}

// waits says for how long a commit has been under way, once that is longer than a broker that works
// takes; else "".
func (l *lane) waits(st laneStatus) string {
	if st.committing.IsZero() {
		return ""
	}
	waited := l.seam().Since(st.committing)
	if waited < l.app.node.cfg.UnreachableAt {
		return ""
	}
	return fmt.Sprintf("Kafka has not acknowledged a commit for %d s: brokers are away, or fewer replicas are in sync than min.insync.replicas asks for; it goes on by itself",
		int(waited.Seconds()))
}
