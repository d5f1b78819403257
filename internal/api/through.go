package api

import (
	"context"
	"math"
	"net/http"
	"sync"
)

// In an app of two stages any event may be of any group: a question about the input goes to the
// lanes that read it first, and then, with how far these have sent what they read, to those that
// count it.

// laneSent is how far a lane has read and sent its partitions of the input.
type laneSent struct {
	Lane int `json:"lane"`
	// Sent says below which offset of each partition of the source all that it has sent lies.
	Sent map[int32]int64 `json:"sent"`
	Lag  int64           `json:"lag"` // of the input partitions that it reads
	// Proved: it has read all that they held at the question.
	Proved bool `json:"proved"`
	// Read is how far it has read them, taken before Sent; Ends are at or behind their ends after
	// the question, of those of which one is known: a later answer that has come there is proved,
	// too.
	Read map[int32]int64 `json:"read,omitempty"`
	Ends map[int32]int64 `json:"ends,omitempty"`
	// AsOfMs is when the lag was proved, and Role who says so; 0 and "" of a node of a release that
	// does not say.
	AsOfMs int64 `json:"as_of_ms,omitempty"`
	Role   Role  `json:"role,omitempty"`
}

// inputRead is what all lanes that read the input say together.
type inputRead struct {
	lag int64
	// asOfMs is when the oldest of their lags was proved, 0 where one does not say, and owned
	// whether all of them are owners: else there may be more of the input than they know, and an
	// answer's age and role say so.
	asOfMs int64
	owned  bool
}

type sentAnswer struct {
	Lanes []laneSent `json:"lanes"`
}

// throughInput asks the lanes that read the input, wherever they are, how far they are; it waits
// until they have passed what the read asks for, and for a moment, if it is to be fresh, until they
// have read all that there was. Of an error it names the silent lanes, where it has failed for them
// alone: the read then knows of the others, and that these may have read less.
func (rd *read) throughInput(ctx context.Context) (silent []int, err error) {
	if rd.app.Repartitions == 0 {
		return nil, nil
	}
	var mu sync.Mutex
	var all []laneSent
	silent, err = rd.scatterSome(ctx, rd.allLanes(), func(ctx context.Context, sh shard) error {
		answer, err := rd.askSent(ctx, sh)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, answer.Lanes...)
		return nil
	})
	if err != nil && len(silent) == 0 {
		return nil, err
	}
	rd.input, rd.inputProved, rd.soft = inputOf(all), err == nil, map[int32]int64{}
	if err != nil {
		rd.input.asOfMs, rd.input.owned = 0, false
	}
	for _, l := range all {
		rd.noteSent(l)
		rd.inputProved = rd.inputProved && rd.sent[l.Lane] != nil
		for q, at := range l.Sent {
			rd.soft[q] = max(rd.soft[q], at)
		}
		for i := range rd.bounds {
			if b := &rd.bounds[i]; b.input && b.sent == nil && rd.laneOf(b.partition) == l.Lane {
				b.sent = l.Sent
			}
		}
	}
	return silent, err
}

func inputOf(all []laneSent) *inputRead {
	in := &inputRead{owned: true, asOfMs: math.MaxInt64}
	for _, l := range all {
		in.lag += l.Lag
		in.asOfMs = min(in.asOfMs, l.AsOfMs)
		in.owned = in.owned && l.Role == RoleOwner
	}
	return in
}

func (rd *read) askSent(ctx context.Context, sh shard) (answer sentAnswer, err error) {
	sub := rd.sub(sh.lanes)
	sub.bounds, sub.prove = nil, sub.prove && !rd.inputProved
	for _, b := range rd.bounds {
		for _, k := range sh.lanes {
			if b.input && b.sent == nil && rd.laneOf(b.partition) == k {
				sub.bounds = append(sub.bounds, b)
			}
		}
	}
	if sh.member.Self {
		return sub.sentHere(ctx)
	}
	err = sub.askJSON(ctx, sh, "sent", "", nil, &answer)
	return answer, err
}

// serveSent answers POST /v1/apps/{app}/sent, which only nodes ask.
func (s *Server) serveSent(w http.ResponseWriter, r *http.Request) error {
	rd, err := s.beginNodeRead(r)
	if err != nil {
		return err
	}
	answer, err := rd.sentHere(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// beginNodeRead is beginRead of what only other nodes ask.
func (s *Server) beginNodeRead(r *http.Request) (*read, error) {
	rd, err := s.beginRead(r)
	if err == nil && !rd.local {
		return nil, badRequest("this is asked with local=true: people use get, top, scan or watch")
	}
	return rd, err
}

func (rd *read) sentHere(ctx context.Context) (sentAnswer, error) {
	views, err := rd.pick(rd.app.Lanes())
	for ; ; views, err = rd.pickNow() {
		if err != nil {
			return sentAnswer{}, err
		}
		why := rd.unread(views)
		answer := rd.sentOf(views)
		waits := rd.waitsForFresh() || rd.prove && rd.left() > 0
		if why == nil && (!waits || answer.proved()) {
			return answer, nil
		}
		if why == nil {
			rd.look()
		}
		if err := rd.pause(ctx, why); err != nil {
			return sentAnswer{}, err
		}
	}
}

// unread says what of the input is still to be read; nil when it is passed.
func (rd *read) unread(views []LaneView) error {
	if err := rd.unloaded(views); err != nil {
		return err
	}
	for i := range rd.bounds {
		if err := rd.readThrough(views, &rd.bounds[i]); err != nil {
			return err
		}
	}
	return nil
}

func (rd *read) sentOf(views []LaneView) (answer sentAnswer) {
	for _, v := range views {
		// The age first, then the lag, which a look between the two may only make newer; and what
		// was sent last, so that all that is read, and so has left the lag, is in it.
		l := laneSent{Lane: v.Lane, Sent: map[int32]int64{}, Role: v.Role(), AsOfMs: v.AsOfMs()}
		l.Proved = l.AsOfMs > rd.begun.UnixMilli()
		if v.InputLag != nil {
			rd.readOf(v, &l)
		}
		if v.Sent != nil {
			for q := range int32(rd.app.Repartitions) {
				l.Sent[q] = v.Sent(q)
			}
		}
		if v.Role() != l.Role {
			l.Role = RoleUnsure
		}
		if l.Role == RoleStandby { // it knows what was read, and not what its owner has sent of it
			l.Proved, l.Read, l.Ends = false, nil, nil
		}
		answer.Lanes = append(answer.Lanes, l)
	}
	return answer
}

// readOf fills in how far a lane has read the input, and how far it has to.
func (rd *read) readOf(v LaneView, l *laneSent) {
	l.Proved, l.Read, l.Ends = true, map[int32]int64{}, map[int32]int64{}
	for _, p := range v.Inputs {
		rd.noteEndOf(&rd.inputEnds, v, p, v.InputLag, func() int64 { return v.Read(p) })
		l.Read[p] = v.Read(p)
		l.Lag += v.InputLag(p)
		l.Proved = l.Proved && rd.inputEnds.passed(p, l.Read[p])
		if end, known := rd.inputEnds[p]; known {
			l.Ends[p] = end
		}
	}
}

func (a sentAnswer) proved() bool {
	for _, l := range a.Lanes {
		if !l.Proved {
			return false
		}
	}
	return true
}

// withInput adds to each part what those say that read the input: what of it is not read yet, since
// when nobody has looked, and that it may be more than they know.
func (rd *read) withInput(parts []Part) []Part {
	for i := range parts {
		rd.addInput(&parts[i])
	}
	return parts
}

func (rd *read) addInput(p *Part) {
	if rd.input == nil {
		return
	}
	// What those have sent since the source's end was looked up has left their lag.
	if at, known := p.Position[sourceName(rd.app, p.Partition)]; known {
		p.Lag = max(p.Lag, rd.soft[p.Partition]-at)
	}
	p.Lag += rd.input.lag
	p.InputLag = rd.input.lag
	p.AsOfMs = min(p.AsOfMs, rd.input.asOfMs)
	if p.Role == RoleOwner && !rd.input.owned {
		p.Role = RoleUnsure
	}
}
