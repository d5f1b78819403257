package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// shard are lanes that one node is asked for.
type shard struct {
	member Member
	lanes  []int
	copies int // how many nodes may be asked for them, at most
}

// spread reports whether the read has to find the owners of its lanes.
func (rd *read) spread() bool { return rd.s.opt.Cluster != nil && !rd.local }

// allLanes are the numbers of all lanes of the app.
func (rd *read) allLanes() []int {
	lanes := make([]int, rd.app.LaneCount)
	for k := range lanes {
		lanes[k] = k
	}
	return lanes
}

// scatter calls ask for the lanes of each node that owns some of them, all at a time. Lanes for
// which it fails, since they are on their way, are asked for again, until the wait is over. An
// error of scatter leaves what other calls of ask came to to the caller.
//
// ask may be called from several goroutines. The ctx that it gets ends when it returns, or when the
// lanes are no longer the node's: a node that hangs is not waited for once another has its lanes.
func (rd *read) scatter(ctx context.Context, lanes []int, ask func(context.Context, shard) error) error {
	_, err := rd.scatterSome(ctx, lanes, ask)
	return err
}

// scatterSome is scatter, and names the silent lanes where it has failed for them alone: the calls
// of ask for all others have succeeded.
func (rd *read) scatterSome(ctx context.Context, lanes []int, ask func(context.Context, shard) error) (silent []int, err error) {
	for try := 0; ; try++ {
		shards, left, why := rd.shards(lanes, try)
		allSilent := why == nil || isSilence(why)
		for i, err := range rd.askAll(ctx, shards, ask) {
			if err == nil {
				continue
			}
			if !askAgain(err) {
				return nil, err
			}
			left, why = append(left, shards[i].lanes...), err
			allSilent = allSilent && shards[i].silent(err, try)
		}
		if lanes = left; len(lanes) == 0 {
			return nil, why // nil, or that there are no lanes at all
		}
		switch err := rd.pause(ctx, why); {
		case err != nil && allSilent && errors.Is(err, why): // and not that who asks has gone
			slices.Sort(lanes)
			return lanes, err
		case err != nil:
			return nil, rd.forPeople(err, lanes)
		}
	}
}

// forPeople is what people are told at the end of the wait: which node has a lane is for nodes.
func (rd *read) forPeople(err error, lanes []int) error {
	var e *Error
	if errors.As(err, &e) && e.Code == CodeNotOwner {
		return rd.notReady(fmt.Sprintf("it is not known yet which node has lane %s of app %s", lanesText(lanes), rd.app.Name))
	}
	return err
}

// askAll asks all shards and returns their errors.
func (rd *read) askAll(ctx context.Context, shards []shard, ask func(context.Context, shard) error) []error {
	errs := make([]error, len(shards))
	var others sync.WaitGroup
	for i, sh := range shards {
		if !sh.member.Self && len(shards) > 1 {
			others.Go(func() { errs[i] = rd.askOne(ctx, sh, ask) })
		}
	}
	for i, sh := range shards {
		if sh.member.Self || len(shards) == 1 {
			errs[i] = rd.askOne(ctx, sh, ask)
		}
	}
	others.Wait()
	return errs
}

// errMoved says that the lanes that a node was asked for have gone elsewhere meanwhile.
var errMoved = errors.New("the lanes have moved meanwhile")

func (rd *read) askOne(ctx context.Context, sh shard, ask func(context.Context, shard) error) error {
	if sh.member.Self {
		return ask(ctx, sh)
	}
	asking, cancel := context.WithCancelCause(ctx)
	if rd.stale && sh.copies > 1 {
		short, cancelShort := context.WithTimeout(asking, rd.s.opt.StaleTry)
		defer cancelShort()
		asking = short
	}
	var watcher sync.WaitGroup
	watcher.Go(func() { rd.watchOwner(asking, sh, cancel) })
	err := ask(asking, sh)
	cause := context.Cause(asking)
	cancel(nil)
	watcher.Wait()
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(cause, errMoved):
		return rd.notReady(fmt.Sprintf("app %s: lanes %s have left node %s", rd.app.Name, lanesText(sh.lanes), sh.member.Name))
	}
	return err
}

// watchOwner cancels when the lanes are no longer the node's.
func (rd *read) watchOwner(ctx context.Context, sh shard, cancel context.CancelCauseFunc) {
	for rd.s.opt.Seam.Sleep(ctx, rd.pollInterval()) == nil {
		if !rd.stillAt(sh) {
			cancel(errMoved)
			return
		}
	}
}

func (rd *read) stillAt(sh shard) bool {
	if m, ok := rd.s.members()[sh.member.ID]; !ok || !m.Alive {
		return false
	}
	for _, p := range rd.s.opt.Cluster.Place(rd.app.Name) {
		if slices.Contains(sh.lanes, p.Lane) && !slices.Contains(rd.holders(p), sh.member.ID) {
			return false
		}
	}
	return true
}

// holders are the members that may be asked for a lane, the best one first.
func (rd *read) holders(p Placement) []string {
	var ids []string
	if p.Owner != "" {
		ids = append(ids, p.Owner)
	}
	if rd.stale {
		ids = append(ids, p.Standbys...)
	}
	return ids
}

// shards finds out whom to ask for the lanes. left are those that nobody can be asked for, and why
// says so of one of them: of one that is not silent, if there is one. With --stale each try asks
// another of the lane's copies.
func (rd *read) shards(lanes []int, try int) (shards []shard, left []int, why error) {
	if len(lanes) == 0 {
		return nil, nil, rd.notReady("it is not known yet which lanes app " + rd.app.Name + " has")
	}
	members, closed := rd.s.members(), rd.closedHere()
	at := map[int]Placement{}
	for _, p := range rd.s.opt.Cluster.Place(rd.app.Name) {
		at[p.Lane] = p
	}
	for _, k := range lanes {
		alive, err := rd.askable(at[k], k, members, closed)
		if err != nil {
			if left = append(left, k); why == nil || isSilence(why) {
				why = err
			}
			continue
		}
		m := alive[try%len(alive)]
		i := slices.IndexFunc(shards, func(sh shard) bool { return sh.member.ID == m.ID })
		if i < 0 {
			shards = append(shards, shard{member: m})
			i = len(shards) - 1
		}
		shards[i].lanes, shards[i].copies = append(shards[i].lanes, k), max(shards[i].copies, len(alive))
	}
	return shards, left, why
}

// askable are the members that can be asked for a lane, or why there are none. closed says why this
// one cannot.
func (rd *read) askable(p Placement, lane int, members map[string]Member, closed error) (alive []Member, err error) {
	for _, id := range rd.holders(p) {
		switch m, ok := members[id]; {
		case ok && m.Self && closed != nil:
			err = closed
		case ok && (m.Alive || m.Self):
			alive = append(alive, m)
		}
	}
	switch {
	case len(alive) > 0:
		return alive, nil
	case err == nil:
		err = rd.ownerless(p, lane, members)
	}
	return nil, err
}

// closedHere says that this node has not opened the app yet: it is there, so its lanes are not
// silent, and they cannot be read.
func (rd *read) closedHere() error {
	if !rd.app.Listed {
		return nil
	}
	if _, err := rd.s.app(rd.app.Name); err != nil {
		return rd.notReady(asError(err).Message)
	}
	return nil
}

func (rd *read) ownerless(p Placement, lane int, members map[string]Member) error {
	what := fmt.Sprintf("lane %d of app %s has no owner", lane, rd.app.Name)
	if m, ok := members[p.Owner]; ok {
		what = fmt.Sprintf("node %s, which owns lane %d of app %s, is not alive", m.Name, lane, rd.app.Name)
	}
	return &silence{rd.notReady(what)}
}

// askAgain says whether another try, perhaps of another node, may succeed.
func askAgain(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return !errors.Is(err, context.Canceled)
	}
	switch e.Code {
	case CodeNotOwner, CodeNotReady, CodeTimeout, CodeUnknownApp, CodeInternal, CodeBusy:
		return true
	}
	return false
}

// askedWith sends a sub-read to another node. more is added to the URL's query.
func (rd *read) askedWith(ctx context.Context, sh shard, verb, more string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, appPath(rd.app.Name, verb)+"?"+rd.query().Encode()+more,
		bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask node %s: %w", sh.member.Name, err)
	}
	resp, err := rd.s.opt.Cluster.Do(ctx, sh.member.ID, req)
	if err != nil {
		return nil, rd.noAnswer(sh.member, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, remoteError(sh.member, resp)
	}
	return resp, nil
}

func (rd *read) noAnswer(m Member, err error) error {
	return &silence{rd.notReady(fmt.Sprintf("node %s at %s does not answer (%v)", m.Name, m.Addr, err))}
}

// remoteError reads the error of another node's answer, which is then this node's.
func remoteError(m Member, resp *http.Response) error {
	var body errorBody
	err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body)
	if err != nil || body.Error == nil || body.Error.Message == "" {
		return &Error{Status: http.StatusBadGateway, Code: CodeInternal,
			Message: fmt.Sprintf("node %s at %s answers, but not as a tally node does (%s)", m.Name, m.Addr, resp.Status)}
	}
	body.Error.Status = resp.StatusCode
	return body.Error
}

// askJSON asks another node, for as long as the read may take, for an answer that is no stream.
func (rd *read) askJSON(ctx context.Context, sh shard, verb, more string, body []byte, v any) error {
	limit := max(rd.left(), 0) + rd.s.opt.ForwardSlack
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := rd.askedWith(ctx, sh, verb, more, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := &io.LimitedReader{R: resp.Body, N: rd.s.answerMax}
	err = json.NewDecoder(in).Decode(v)
	if err != nil && in.N <= 0 {
		return tooLarge("node %s answers with more than %d bytes", sh.member.Name, rd.s.answerMax)
	}
	if err != nil {
		return rd.noAnswer(sh.member, err)
	}
	return nil
}
