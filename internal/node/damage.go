package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/tally-kafka/tally/replication"
	"github.com/tally-kafka/tally/state"
)

// A store that was damaged is set aside and made again from the changelog, which says nothing of
// why. After damagesMax of them within damagesSpan a lane ends: what is written there does not
// last.
const (
	damagesMax  = 3
	damagesSpan = time.Hour
)

// renewStore puts a damaged store aside, so that the next stay makes a new one.
func (l *lane) renewStore(damage error) error {
	l.abandonStore()
	return l.setAside(damage)
}

// damagedAgain notes a damage, and refuses one too many.
func (l *lane) damagedAgain(damage error) error {
	now := l.seam().Now()
	l.damages = append(l.damages, now)
	if len(l.damages) < damagesMax {
		return nil
	}
	span := now.Sub(l.damages[len(l.damages)-damagesMax])
	l.damages = l.damages[len(l.damages)-damagesMax+1:]
	if span >= damagesSpan {
		return nil
	}
	return fmt.Errorf("the state was damaged %d times within %s: the disk, the memory or another program damages what is written to %s; mend that, or give the node another --data-dir, and start again: %w",
		damagesMax, span.Round(time.Second), l.dir(), damage)
}

// rebuildable reports whether a store failed its verification that was made before this process
// began, or by another node: a new one made from the changelog alone tells whether the store or the
// changelog is at fault.
func (l *lane) rebuildable(err error) bool {
	return errors.As(err, new(*state.DigestError)) && !l.rebuilt
}

// diskFails reports whether an error is the disk's: the lane waits until it is well again.
func diskFails(err error) bool { return errors.As(err, new(*state.DiskError)) }

// refuseStore marks a store that is ahead of Kafka, which would no longer look so once Kafka has
// more records, of another past; and one that has taken what is not the app's.
func (l *lane) refuseStore(err error) error {
	if !errors.As(err, new(*replication.AheadError)) && !errors.As(err, new(*replication.LooseError)) {
		return err
	}
	if e := l.store.Refuse(l.explain(context.Background(), err).Error()); e != nil {
		return e
	}
	return err
}

// noteStrangers notes that other nodes have counted since the store was last written here. It may
// be of another past than their records: that of a Kafka which was restored from an older copy
// meanwhile. Then it does not add up to what they say. Earlier processes of this node are none of
// them: each began with this store, and died before it had flushed what it counted.
func (l *lane) noteStrangers(before map[state.Task]state.Position) {
	for _, t := range l.tasks {
		now, _ := l.store.Position(t)
		was, is := before[t].Record, now.Record
		if was.AppID != "" && is.Incarnation != was.Incarnation && is.Node != l.app.node.dir.id.ID {
			l.strange = true
		}
	}
}

// abandonStore closes a store that is of no further use, without writing.
func (l *lane) abandonStore() {
	l.dropReady()
	l.mu.Lock()
	store := l.store
	l.store, l.loaded = nil, false
	l.mu.Unlock()
	if store == nil {
		return
	}
	if err := store.Abandon(); err != nil {
		l.log().Warn("close the store", "error", err)
	}
}

func (l *lane) setAside(damage error) error {
	name, err := state.SetAside(l.dir(), l.seam())
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed it, as is always safe
		err, name = os.MkdirAll(l.dir(), 0o755), ""
	}
	if err != nil {
		return fmt.Errorf("the store is damaged (%w) and cannot be set aside: %w", damage, err)
	}
	l.rebuilt = true
	wrong := l.copied && errors.As(damage, new(*state.DigestError)) // as it came: that is no damage of here
	l.copied, l.unseeded = false, l.unseeded || wrong
	text := "the store was removed, and is restored from the changelog"
	if name == "" {
		l.log().Warn(text, "damage", damage)
	} else {
		text = "the store was damaged and is restored from the changelog; what was there is kept in " + name
		l.log().Warn("the store is damaged: set aside, and restored from the changelog", "kept", name, "damage", damage)
	}
	l.mu.Lock()
	l.status.damage = text
	l.mu.Unlock()
	if wrong {
		return nil
	}
	return l.damagedAgain(damage)
}
