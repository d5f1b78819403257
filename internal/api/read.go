package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/state"
)

// read is one query on its way: what it asks of the state before it may be answered.
type read struct {
	s        *Server
	app      *App
	bounds   []bound
	wait     time.Duration
	begun    time.Time
	deadline time.Time
	// fresh asks for what the input held when the question came; freshUntil bounds that wait.
	fresh      bool
	freshUntil time.Time
	stale      bool // standbys answer too
	// prove waits, where there are no values, for the proof of that; proving is what a second round
	// of questions to other nodes does, a while at a time.
	prove, proving bool

	// local: another node asks for these lanes of this one, or this one for its own; nil are all
	// that it has.
	local bool
	lanes []int

	ends ends // of Source: see prove.go

	// Of an app of two stages: the ends of the input. Of who asks other nodes beside that: what of
	// the input was not read yet, whether all that there was at the question is, how far the source
	// has what was read, and by lane how far it had what the lane had to read.
	inputEnds   ends
	inputLag    int64
	inputProved bool
	soft        map[int32]int64
	sent        map[int]map[int32]int64
}

// beginRead finds the app and reads what all queries have in common.
func (s *Server) beginRead(r *http.Request) (*read, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query of the URL cannot be read: %v", err)
	}
	wait, err := s.parseWait(q.Get("wait"))
	if err != nil {
		return nil, err
	}
	began := s.opt.Seam.Now()
	app, err := s.awaitApp(r.Context(), r.PathValue("app"), began.Add(wait))
	if err != nil {
		return nil, err
	}
	rd := &read{s: s, app: app, wait: wait, begun: began}
	for _, text := range q["after"] {
		b, err := parseAfter(app, text)
		if err != nil {
			return nil, err
		}
		rd.bounds = append(rd.bounds, b)
	}
	if token := q.Get("min_position"); token != "" {
		bounds, err := parseToken(app, token)
		if err != nil {
			return nil, err
		}
		rd.bounds = append(rd.bounds, bounds...)
	}
	rd.stale = q.Get("stale") == "true"
	if err := rd.parseLocal(r, q); err != nil {
		return nil, err
	}
	rd.deadline = rd.begun.Add(rd.wait)
	if rd.fresh = q.Get("fresh") == "true"; rd.fresh {
		rd.freshUntil = rd.begun.Add(min(rd.wait, s.opt.FreshWait))
		rd.look()
	}
	return rd, nil
}

func (s *Server) parseWait(text string) (time.Duration, error) {
	if text == "" {
		return s.opt.WaitDefault, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > s.opt.WaitMax {
		return 0, badRequest("wait=%q is not a duration from 0s to %s, for example 500ms", text, s.opt.WaitMax)
	}
	return d, nil
}

// awaitApp finds an app by name, and waits until late for one that the cluster has and this node
// is about to open.
func (s *Server) awaitApp(ctx context.Context, name string, late time.Time) (*App, error) {
	for {
		app, err := s.app(name)
		if err == nil || !notOpen(err) || !s.opt.Seam.Now().Before(late) {
			return app, err
		}
		if sleep := s.opt.Seam.Sleep(ctx, openPause); sleep != nil {
			return nil, err
		}
	}
}

// openPause is how long a read waits until it looks again whether its app is open.
const openPause = 20 * time.Millisecond

// notOpen says whether the cluster has an app that is not open at this node.
func notOpen(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == CodeNotReady
}

// app finds an app by name.
func (s *Server) app(name string) (*App, error) {
	var known []string
	for _, a := range s.node.Apps() {
		if a.Name == name {
			return a, nil
		}
		known = append(known, a.Name)
	}
	if s.opt.Cluster != nil && s.opt.Cluster.Place(name) != nil {
		return nil, &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady,
			Message: fmt.Sprintf("app %q is not open at this node", name), Next: "`tally status` says why; ask another node meanwhile"}
	}
	e := &Error{Status: http.StatusNotFound, Code: CodeUnknownApp,
		Message: fmt.Sprintf("this node has no app %q", name), Next: "it has " + strings.Join(known, ", ")}
	if len(known) == 0 {
		e.Next = "it has none yet: `tally submit FILE`"
	}
	return nil, e
}

// views waits until the lanes are loaded and have reached what the query asks for.
func (rd *read) views(ctx context.Context) ([]LaneView, error) {
	views, err := rd.pick(rd.app.Lanes())
	for ; ; views, err = rd.pickNow() {
		if err != nil {
			return nil, err
		}
		why := rd.missing(views)
		if why == nil && rd.freshEnough(views) {
			return views, nil
		}
		for _, v := range views {
			if v.Hurry != nil {
				v.Hurry()
			}
		}
		if err := rd.pause(ctx, why); err != nil {
			return nil, err
		}
	}
}

// look asks for the input's end anew: what proves that an answer is fresh, or that there is none.
func (rd *read) look() {
	if rd.app.Look != nil {
		rd.app.Look()
	}
}

// freshEnough reports whether all that the input held when the question came is counted, or the
// wait for it is over: then the answer says its lag.
func (rd *read) freshEnough(views []LaneView) bool {
	if !rd.waitsForFresh() {
		return true
	}
	if !rd.softReached(views) {
		return false
	}
	enough := true
	for _, v := range views {
		for _, t := range v.Tasks {
			rd.noteEnd(v, t)
			enough = enough && rd.ends.passed(t.Partition, position(v, t))
		}
	}
	if !enough {
		rd.look()
	}
	return enough
}

func (rd *read) waitsForFresh() bool {
	return rd.fresh && rd.left() > 0 && rd.s.opt.Seam.Now().Before(rd.freshUntil)
}

// softReached reports whether the views have what the first stage had sent.
func (rd *read) softReached(views []LaneView) bool {
	for i := range rd.bounds {
		if b := &rd.bounds[i]; b.soft && rd.reached(views, b) != nil {
			return false
		}
	}
	return true
}

// pause waits a moment before another try; at the deadline it returns why.
func (rd *read) pause(ctx context.Context, why error) error {
	left := rd.left()
	if left <= 0 {
		return why
	}
	if _, err := rd.reopened(); err != nil {
		return err
	}
	return rd.s.opt.Seam.Sleep(ctx, min(left, rd.pollInterval()))
}

// reopened is the app as it is open now, which after a change of its spec is not the one that the
// read began with. It fails where the counts are of another generation, or of another app of the
// name.
func (rd *read) reopened() (*App, error) {
	now, err := rd.s.app(rd.app.Name)
	switch {
	case err != nil: // it is just being opened
		return rd.app, nil
	case now.ID != rd.app.ID:
		return nil, &Error{Status: http.StatusConflict, Code: CodeConflict,
			Message: fmt.Sprintf("app %s was deleted meanwhile, and another has its name", now.Name), Next: "ask again"}
	case now.Generation != rd.app.Generation:
		return nil, &Error{Status: http.StatusConflict, Code: CodeConflict,
			Message: fmt.Sprintf("app %s was reset meanwhile (generation %d)", now.Name, now.Generation), Next: "ask again"}
	}
	return now, nil
}

// pickNow picks of the lanes of the app as it is open now.
func (rd *read) pickNow() ([]LaneView, error) {
	now, err := rd.reopened()
	if err != nil {
		return nil, err
	}
	return rd.pick(now.Lanes())
}

// pollMost bounds how long a read that waits may miss what it waits for.
const pollMost = 250 * time.Millisecond

// pollInterval is the time until the next look: a twentieth of what a read has waited already, so
// that a thousand reads which wait for what does not come are no burden to who counts.
func (rd *read) pollInterval() time.Duration {
	waited := rd.s.opt.Seam.Now().Sub(rd.begun)
	return max(rd.s.opt.PollInterval, min(waited/20, pollMost))
}

// left is what remains of the wait.
func (rd *read) left() time.Duration { return rd.deadline.Sub(rd.s.opt.Seam.Now()) }

// missing says what is still to wait for; nil when the query can be answered.
func (rd *read) missing(views []LaneView) error {
	if err := rd.unloaded(views); err != nil {
		return err
	}
	for i := range rd.bounds {
		if b := &rd.bounds[i]; !b.soft {
			if err := rd.reached(views, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (rd *read) unloaded(views []LaneView) error {
	if len(views) == 0 {
		return rd.notReady("this node runs no lane of app " + rd.app.Name + " yet")
	}
	for _, v := range views {
		if v.Store == nil {
			return rd.notReady(fmt.Sprintf("lane %d of app %s is not loaded (%s)", v.Lane, rd.app.Name, v.Why))
		}
	}
	return nil
}

func (rd *read) notReady(what string) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady,
		Message: fmt.Sprintf("%s; waited %s", what, rd.wait), Next: "see `tally status`, or ask with a longer --wait"}
}

func (rd *read) reached(views []LaneView, b *bound) error {
	if b.input {
		return rd.through(views, b)
	}
	at, known := int64(0), []int32(nil)
	for _, v := range views {
		for _, t := range v.Tasks {
			known = append(known, t.Partition)
			if t.Partition == b.partition {
				at = position(v, t)
			}
		}
	}
	if !slices.Contains(known, b.partition) {
		return badRequest("app %s reads no partition %d of %s here, but %v", rd.app.Name, b.partition, rd.app.Source, known)
	}
	if at >= b.position {
		return nil
	}
	return rd.late(fmt.Sprintf("%s is counted up to offset %d, and %d was asked for",
		sourceName(rd.app, b.partition), at-1, b.position-1))
}

// through waits for a position in the input of an app of two stages: first until the stage that
// reads it has come there, then until the other has counted all that the first one's lane had sent
// by then.
func (rd *read) through(views []LaneView, b *bound) error {
	if err := rd.readThrough(views, b); err != nil {
		return err
	}
	for _, v := range views {
		for _, t := range v.Tasks {
			if at := position(v, t); at < b.sent[t.Partition] {
				return rd.late(fmt.Sprintf("%s is counted up to offset %d, and what %s/%d has up to offset %d lies below %d",
					sourceName(rd.app, t.Partition), at-1, rd.app.Input, b.partition, b.position-1, b.sent[t.Partition]))
			}
		}
	}
	return nil
}

// readThrough is the first half of through: it notes how far the lane had sent when it was there.
func (rd *read) readThrough(views []LaneView, b *bound) error {
	if b.sent != nil {
		return nil
	}
	var known []int32
	for _, v := range views {
		known = append(known, v.Inputs...)
		if !slices.Contains(v.Inputs, b.partition) {
			continue
		}
		if at := v.Read(b.partition); at < b.position {
			return rd.late(fmt.Sprintf("%s/%d is read up to offset %d, and %d was asked for", rd.app.Input, b.partition, at-1, b.position-1))
		}
		b.sent = map[int32]int64{}
		for q := range int32(rd.app.Repartitions) {
			b.sent[q] = v.Sent(q)
		}
		return nil
	}
	slices.Sort(known)
	return badRequest("app %s reads no partition %d of %s here, but %v", rd.app.Name, b.partition, rd.app.Input, known)
}

func (rd *read) late(what string) *Error {
	return &Error{Status: http.StatusGatewayTimeout, Code: CodeTimeout,
		Message: fmt.Sprintf("%s; waited %s", what, rd.wait), Next: "see `tally status`, or ask with a longer --wait"}
}

// position is the offset below which everything is in the store. The read position is taken before
// the store's own, and either is true of a read of the store that comes after both.
func position(v LaneView, t state.Task) int64 {
	in := v.Input(t.Partition)
	if pos, ok := v.Store.Position(t); ok {
		in = max(in, pos.Record.Input)
	}
	return in
}

// newPart describes a task. roleBefore was asked before the read; the copy is an owner's only if it
// was one before and after.
func (rd *read) newPart(v LaneView, t state.Task, input int64, roleBefore Role) Part {
	role := v.Role()
	if role != roleBefore {
		role = RoleUnsure
	}
	asOf := v.AsOfMs() // before the lag: a look between the two must not prove an older lag
	return Part{
		Partition: t.Partition, Lane: v.Lane, Node: v.Node, Role: role, Epoch: v.Epoch,
		Position: map[string]int64{sourceName(rd.app, t.Partition): input},
		Lag:      v.Lag(t.Partition), AsOfMs: asOf,
	}
}

// finishParts orders the parts as people look for them.
func finishParts(parts []Part) []Part {
	slices.SortFunc(parts, func(a, b Part) int { return int(a.Partition - b.Partition) })
	return parts
}

// parseCount reads a number of things from 1 to limit.
func parseCount(name, text string, def, limit int) (int, error) {
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limit {
		return 0, badRequest("%s=%q is not a number from 1 to %d", name, text, limit)
	}
	return n, nil
}

// retryable says whether a failed read may succeed with new views: the store was closed because the
// lane moved or began anew.
func retryable(err error) bool {
	var e *Error
	return !errors.As(err, &e) && !errors.Is(err, context.Canceled)
}
