package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// serveGet answers POST /v1/apps/{app}/get; the body is the group as a JSON array.
func (s *Server) serveGet(w http.ResponseWriter, r *http.Request) error {
	rd, err := s.beginRead(r)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	group, err := rd.app.Program.ParseGroupJSON(body)
	if err != nil {
		return badRequest("the body is not a group of app %s: %v", rd.app.Name, err)
	}
	answer, err := rd.get(r.Context(), group)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// get reads the group's part in every partition and folds the parts. It asks every partition, since
// clients hash keys differently: one group may have counters in several. In an app of two stages it
// has one, in the partition that the group decides.
//
// That a group has no values is only said once the input was seen, after the question, to hold
// nothing more that is not counted, or when the wait is over. So who has just produced the group's
// first event finds it, and no one else waits.
func (rd *read) get(ctx context.Context, group []byte) (*GetAnswer, error) {
	for {
		views, err := rd.views(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := rd.getOnce(views, group)
		if err == nil && (answer.Found || rd.caughtUp(answer.Parts)) || err != nil && !retryable(err) {
			return answer, err
		}
		if rd.left() <= 0 {
			return answer, err
		}
		rd.look()
		if err := rd.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

// caughtUp says whether every part had no lag at a moment after the question.
func (rd *read) caughtUp(parts []Part) bool {
	for _, p := range parts {
		if p.Lag > 0 || p.AsOfMs <= rd.begun.UnixMilli() {
			return false
		}
	}
	return true
}

func (rd *read) getOnce(views []LaneView, group []byte) (*GetAnswer, error) {
	var folded []spec.Decimal
	a := &GetAnswer{App: rd.app.Name, Group: rd.app.Program.AppendGroupJSON(nil, group), Parts: []Part{}}
	for _, v := range views {
		role := v.Role()
		held, err := readLane(rd.app, v, group)
		if err != nil {
			return nil, err
		}
		for _, h := range held {
			part := rd.newPart(v, h.task, h.input, role)
			if h.values != nil {
				part.Values = rd.app.Program.AppendValuesJSON(nil, h.values)
				folded = foldInto(rd.app.Program, folded, h.values)
			}
			a.Parts = append(a.Parts, part)
		}
	}
	finishParts(a.Parts)
	if folded != nil {
		a.Found = true
		a.Values = json.RawMessage(rd.app.Program.AppendValuesJSON(nil, folded))
	}
	a.Token = newToken(rd.app, a.Parts)
	return a, nil
}

// held is what a task has of a group: nil values when it has none.
type held struct {
	task   state.Task
	input  int64 // everything below it is in values
	values []spec.Decimal
}

// readLane reads a group's values in the tasks of a lane that may have them, at one commit
// boundary.
func readLane(app *App, v LaneView, group []byte) ([]held, error) {
	all := make([]held, 0, len(v.Tasks))
	for _, t := range v.Tasks {
		if n := app.Repartitions; n > 0 && t.Partition != spec.Partition(group, n) {
			continue
		}
		all = append(all, held{task: t, input: v.Input(t.Partition)})
	}
	err := v.Store.View(func(view state.View) error {
		for i := range all {
			h := &all[i]
			if pos, ok := view.Position(h.task); ok {
				h.input = max(h.input, pos.Record.Input)
			}
			raw, ok, err := view.Get(h.task, group, nil)
			if err != nil {
				return err
			}
			if ok {
				h.values = mustDecode(app.Program, raw, nil)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read lane %d: %w", v.Lane, err)
	}
	return all, nil
}

// mustDecode decodes values of a store that was opened for this spec.
func mustDecode(p *spec.Program, raw []byte, dst []spec.Decimal) []spec.Decimal {
	values, err := p.DecodeValues(raw, dst)
	if err != nil {
		panic(fmt.Sprintf("api: a store whose fingerprint is the spec's holds values %x that are not: %v", raw, err))
	}
	return values
}

// foldInto folds the values of one more part; acc is nil before the first.
func foldInto(p *spec.Program, acc, values []spec.Decimal) []spec.Decimal {
	if acc == nil {
		return append(make([]spec.Decimal, 0, len(values)), values...)
	}
	p.Fold(acc, values)
	return acc
}
