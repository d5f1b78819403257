package audit

import (
	"context"
	"encoding/json"
	"fmt"
)

// awaitStore lets a second stage read what was sent before the store is asked: of an app that has
// just become idle, all groups are in the answer then.
func (a *audit) awaitStore(ctx context.Context) error {
	if a.cfg.Node == nil {
		return nil
	}
	a.meter.begin("wait", 0)
	if err := a.findPositions(ctx); err != nil {
		return err
	}
	return a.awaitSecond(ctx)
}

// scanStore lets the node say all its groups.
func (a *audit) scanStore(ctx context.Context) error {
	a.answers = a.table("store", func(dst, key, older, newer []byte) ([]byte, error) {
		a.found.add(Difference{Kind: StoreDoubled, Topic: a.input.Name, Offset: -1, Group: a.program.AppendGroupJSON(nil, key),
			Got: string(newer), Want: string(older), Why: "the node's answer has the group twice"})
		return append(dst, older...), nil
	})
	if a.cfg.Node == nil {
		a.noStore = "no node was asked"
		return nil
	}
	a.meter.begin("store", 0)
	var failed error // of the table, not of the node
	positions, err := a.cfg.Node.Scan(ctx, func(group, values json.RawMessage) error {
		a.records["store"]++
		encoded, err := a.program.ParseGroupJSON(group)
		if err != nil {
			return fmt.Errorf("the node's answer has a group that is none: %s: %w", group, err)
		}
		failed = a.answers.put(encoded, values)
		return failed
	})
	switch {
	case failed != nil || ctx.Err() != nil:
		return err
	case err != nil:
		a.noStore = "the node did not answer"
		a.cannot("the store: %v", err)
	default:
		a.storeAt = positions
	}
	return a.answers.filled()
}

// placeStore gives each task its position in the store's answer.
func (a *audit) placeStore() {
	if a.storeAt == nil {
		return
	}
	if n := a.cfg.Node; n.AppID != a.appID || n.Generation != a.generation {
		a.noStore = "the node runs another app"
		a.cannot("the store: the node runs an app %s with id %s, generation %d; the changelog is of id %s, generation %d",
			a.spec.App, n.AppID, n.Generation, a.appID, a.generation)
		return
	}
	for _, t := range a.keepers() {
		at, ok := a.storeAt[t.partition]
		if !ok {
			a.noStore = "the node does not answer for all partitions"
			a.cannot("the store: the node's answer is without partition %d", t.partition)
			return
		}
		t.store = at
	}
}
