package api

import (
	"context"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// Node is what the server needs of a node. internal/node implements it; all methods may be called
// from many goroutines at any time between NewServer and the end of Shutdown.
type Node interface {
	// Status is the whole of GET /v1/status. It is also what /metrics is made of, so it must be
	// cheap: it reads what the lanes keep anyhow and asks no broker.
	Status(ctx context.Context) Status
	// NotReady has one sentence for each lane that this node should run and does not run yet (or
	// for the node as a whole); empty means ready.
	NotReady() []string
	// Apps are the apps that this node knows, sorted by name.
	Apps() []*App
	// Reset starts an app anew in a new generation, also one that this node cannot open, and
	// returns when that has its first positions, or when ctx ends: a reset that was begun then goes
	// on without the caller.
	Reset(ctx context.Context, app string, req ResetRequest) (ResetAnswer, error)
}

// App is one app as a node sees it. Its fields do not change; what changes is behind Lanes.
type App struct {
	Name       string
	ID         string // the random app id
	Generation int
	Spec       *spec.Spec
	Program    *spec.Program
	// Input is the topic that the app reads, and Source the one that the positions of the tasks
	// with the state count in: the input, or the repartition topic of an app of two stages.
	Input, Source string
	// Repartitions is the number of partitions of the latter, 0 for an app of one stage: a group is
	// counted in the one that spec.Partition says.
	Repartitions int
	// LaneCount is L, and Partitions the number of partitions of the input at the first start; both
	// are 0 while they are not known. Partition p belongs to lane p mod L.
	LaneCount, Partitions int
	// Standbys is how many copies of each lane there should be beside the owner's.
	Standbys int
	// Partitioners are the known ways in which clients place a key, in the order of state.Hints'
	// fields; none: a query asks all lanes.
	Partitioners []func(key []byte, partitions int) int32
	// Listed: the app was not open at this node when it was asked for, and this is what the
	// cluster's log says of it. Lanes are those of the app once it is open, as the same one.
	Listed bool
	// Look asks for the input's end anew, soon and not too often; it does not wait. Nil: it is only
	// looked at from time to time.
	Look func()
	// Lanes returns a view of each lane of which this node holds a copy, the owner's or a standby's
	// (see Role), sorted by lane. It is called
	// for every query, and every few milliseconds by one that waits.
	Lanes func() []LaneView
}

// counted is the number of partitions of Source, as far as it is known.
func (a *App) counted() int {
	if a.Repartitions > 0 {
		return a.Repartitions
	}
	return a.Partitions
}

// LaneView is how a query sees a lane at one moment.
type LaneView struct {
	Lane  int
	Node  string       // the name of the node that holds this copy
	Epoch uint64       // of the grant under which the lane runs
	Tasks []state.Task // the tasks with state, sorted; also while Store is nil
	// Store is nil while the lane's state is not loaded up to a known position; a query then waits.
	// A standby's is set once it has been at the end of the changelog. An owner's is nil until it
	// has caught up to its own barrier: what it had as a standby may be older than what the last
	// owner has answered.
	// A store that was handed out may be closed meanwhile: reads then give an error, and the query
	// is answered from the next view.
	Store *state.Store
	// Why says in one sentence why Store is nil, with numbers: "restoring: 1200 of 50000 records".
	Why string
	// Role is asked before and after each read.
	Role func() Role
	// Input is the read position of a partition: the offset below which everything is counted and
	// visible in Store. It passes control records, aborted data and gaps. It must be taken so that
	// a read of Store that starts after Input returned sees all of it.
	Input func(partition int32) int64
	// Lag is last stable offset - read position, as of AsOfMs. In an app of two stages without
	// InputLag the lag of the whole input is in it: any event there may be one of the partition's.
	Lag func(partition int32) int64
	// AsOfMs is when the fetch that proved the lag was made.
	AsOfMs func() int64
	// Hurry is called while a read waits for what Store does not have yet. It does not block. Nil
	// where there is nothing to be hurried.
	Hurry func()

	// Of an app of two stages: the input partitions that the lane's first stage reads, how far it
	// has read and sent one, and below which offset of a partition of Source all that it has sent
	// lies. Sent must be taken after Read.
	Inputs []int32
	Read   func(partition int32) int64
	Sent   func(partition int32) int64
	// InputLag is how far Read is behind the end of an input partition, as of AsOfMs. Nil where
	// this node has all lanes.
	InputLag func(partition int32) int64
}

// Role says how far a copy can be trusted to be the newest.
type Role string

// The roles of a lane's copy.
const (
	RoleOwner   Role = "owner"   // membership renewed within its TTL
	RoleUnsure  Role = "unsure"  // the owner as far as it knows
	RoleLost    Role = "lost"    // fenced by a stranger: the values are old and stay so
	RoleStandby Role = "standby" // a warm copy
)
