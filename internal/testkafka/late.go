package testkafka

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// deliverMost bounds how long Deliver waits for the broker.
const deliverMost = 10 * time.Second

// Deliver sends the broker a request that HoldRequest has kept from it, the oldest one, over a
// connection of its own, as a network does that was slow. It returns the request and its answer,
// each from its header on.
func (h *Hits) Deliver() (request, answer []byte, err error) {
	h.p.mu.Lock()
	if len(h.held) > 0 {
		request, h.held = h.held[0], h.held[1:]
	}
	h.p.mu.Unlock()
	if request == nil {
		return nil, nil, errors.New("no request is held")
	}
	conn, err := net.DialTimeout("tcp", h.p.target, deliverMost)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deliverMost))
	if err := writeFrame(conn, request); err != nil {
		return nil, nil, err
	}
	if answer, err = readFrame(conn); err != nil {
		err = fmt.Errorf("the answer to a request that came late: %w", err)
	}
	return request, answer, err
}

// hold keeps a copy of a request. It is called under the proxy's mutex.
func (h *Hits) hold(frame []byte) { h.held = append(h.held, slices.Clone(frame)) }
