package api

import (
	"context"
	"net/http"
)

// Cluster is what the server needs to know of the other nodes. All methods may be called from many
// goroutines at any time; only Do, Problems and Settled wait. Without a cluster every lane is this
// node's.
type Cluster interface {
	// Members are the nodes of the cluster, this one among them, sorted by name.
	Members() []Member
	// Leader is the name of the node that decides, "" while none is known.
	Leader() string
	// Settled returns once this node is a member and knows the cluster's apps. It waits a while for
	// that, and then says as an *Error what is waited for.
	Settled(ctx context.Context) error
	// Records are the apps of the cluster, sorted by name, also those that this node has not
	// opened.
	Records() []AppInfo
	// Place says who has the lanes of an app, as far as this node knows; nil for an app that it
	// does not know.
	Place(app string) []Placement
	// Listed is an app as the cluster's log has it, for a node at which it is not open; nil where
	// the log has no such app, or not yet which lanes it has, while the app is being reset, and
	// before the node has been a member.
	Listed(app string) *App
	// Problems asks the leader what keeps the cluster from being as it shall be, until ctx ends. Of
	// a leader that does not answer it has nothing.
	Problems(ctx context.Context) ClusterProblems
	// Do sends a request to another member as this node. req.URL has the path and the query alone.
	Do(ctx context.Context, member string, req *http.Request) (*http.Response, error)
}

// Member is a node as another one sees it.
type Member struct {
	ID       string
	Name     string
	Addr     string
	Zone     string
	Release  string
	Alive    bool
	Draining bool
	Self     bool // the node that is asked
}

// ClusterProblems are for people.
type ClusterProblems struct {
	Waits     string             // what this node waits for before it has its place in the cluster, "" for nothing
	Leader    []string           // what the leader alone can see, a line each
	Ownerless map[LaneRef]string // why lanes have nobody who runs them, as the leader knows
}

// LaneRef names a lane of an app.
type LaneRef struct {
	App  string
	Lane int
}

// Placement says which nodes have a lane. Nodes are member ids.
type Placement struct {
	Lane     int
	Owner    string // "" for nobody
	Epoch    uint64
	Standbys []string
	// From is the node that gives the lane to its new owner, Target the one that it moves to; ""
	// for none.
	From, Target string
}

// Control changes the cluster. Its errors are *Error where a person can do something about them,
// with the names that there are and what would work.
type Control interface {
	// Submit adds an app, or gives an app a new spec or another number of standbys. The spec was
	// parsed already.
	Submit(ctx context.Context, spec []byte, req SubmitRequest) (SubmitAnswer, error)
	// Delete stops an app everywhere; with topics it also deletes the topics that tally owns.
	Delete(ctx context.Context, app string, topics bool) (DeleteAnswer, error)
	// Drain asks for all lanes of a node, given by its name or id, to be moved away, or takes that
	// back. It returns once that is decided, before the lanes have moved.
	Drain(ctx context.Context, node string, req DrainRequest) (DrainAnswer, error)
	// Forget takes a node that is not alive, given by its name or id, out of the cluster for good.
	Forget(ctx context.Context, node string, dryRun bool) (ForgetAnswer, error)
	// Move asks for a lane to be moved to a node, given by its name or id. It returns once that is
	// decided, before the lane has moved.
	Move(ctx context.Context, app string, lane int, req MoveRequest) (MoveAnswer, error)
}

// Call answers one call of another node: what it returns is sent as JSON.
type Call func(ctx context.Context, body []byte) (any, error)

// members are the cluster's by id.
func (s *Server) members() map[string]Member {
	all := map[string]Member{}
	for _, m := range s.opt.Cluster.Members() {
		all[m.ID] = m
	}
	return all
}
