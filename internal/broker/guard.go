package broker

import (
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// guard sees a request before kfake serves it. It may change it, hold it back, or answer it, which
// it says by true. It may see the same request twice.
type guard func(kmsg.Request) (kmsg.Response, error, bool)

// guards are all of them, in the order in which a request passes them, behind one control of kfake.
//
// A control of kfake remembers for each connection that ever was the connection and its last
// request, and forgets none. So the control is replaced now and then, and what it held is free. It
// must be the only one: kfake may leave the one behind a removed one out.
type guards struct {
	cluster *kfake.Cluster
	each    []guard
	held    int // bytes, about, that the present control remembers at most
}

const (
	heldMax     = 4 << 20
	requestHeld = 4 << 10 // of a request and its connection, beside what it produces
)

func (g *guards) stand() { g.cluster.Control(g.pass) }

// pass runs in kfake's one goroutine, or while that waits.
func (g *guards) pass(kreq kmsg.Request) (resp kmsg.Response, err error, handled bool) { //nolint:revive // kfake's order
	g.cluster.KeepControl()
	for _, see := range g.each {
		if resp, err, handled = see(kreq); handled {
			break
		}
	}
	if g.held += requestHeld + produced(kreq); g.held > heldMax {
		g.held = 0
		g.cluster.DropControl()
		g.stand()
	}
	return resp, err, handled
}

func produced(kreq kmsg.Request) (bytes int) {
	if req, ok := kreq.(*kmsg.ProduceRequest); ok {
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				bytes += len(p.Records)
			}
		}
	}
	return bytes
}
