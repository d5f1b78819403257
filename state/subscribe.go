package state

import (
	"bytes"
	"context"
	"sync"
)

// Subscription gives the changes that become visible, at the pace of its reader: of a group that
// changes often only the latest values are kept. It never makes a Publish wait.
type Subscription struct {
	set      *subscriptions
	match    func(t Task, group []byte) bool
	limit    int
	bytesMax int64
	ready    chan struct{} // holds one token when there is something to read

	mu     sync.Mutex
	latest map[string][]byte // by the key in the store
	size   int64             // of keys and values in it
	lost   bool
	closed bool
}

// subscriptions are the open ones of a store.
type subscriptions struct {
	mu     sync.Mutex
	open   map[*Subscription]struct{}
	closed bool
}

// Subscribe starts to collect the changes of the groups for which match is true (nil: all). It
// keeps at most limit groups, of at most bytesMax with their values, for a reader that is behind,
// and of any size one; then changes of further groups are lost, and Next says so. match is called
// by Publish: it must be quick and not call the Store. Subscribe before reading the present values,
// or a change between is missed.
func (s *Store) Subscribe(match func(t Task, group []byte) bool, limit int, bytesMax int64) *Subscription {
	u := &Subscription{
		set: &s.subs, match: match, limit: max(limit, 1), bytesMax: bytesMax,
		ready: make(chan struct{}, 1), latest: make(map[string][]byte),
	}
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	if s.subs.closed {
		u.closed = true
		u.signal()
		return u
	}
	if s.subs.open == nil {
		s.subs.open = make(map[*Subscription]struct{})
	}
	s.subs.open[u] = struct{}{}
	return u
}

// Next waits for changes and returns them, each group once with its latest values. lost tells that
// changes of other groups were dropped: scan again to see them. It returns ErrClosed after Close of
// the subscription or the store.
func (u *Subscription) Next(ctx context.Context) (ch []Change, lost bool, err error) {
	for {
		if ch, lost, err = u.take(); err != nil || len(ch) > 0 || lost {
			return ch, lost, err
		}
		select {
		case <-u.ready:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (u *Subscription) take() (ch []Change, lost bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	latest := u.latest
	lost, u.lost = u.lost, false
	if u.closed && len(latest) == 0 && !lost {
		u.signal() // for another reader
		return nil, false, ErrClosed
	}
	u.latest, u.size = make(map[string][]byte), 0
	for key, values := range latest {
		t, group, err := splitStoreKey([]byte(key))
		if err != nil {
			panic("state: a subscription holds a key that is none: " + err.Error())
		}
		ch = append(ch, Change{Task: t, Group: group, Values: values})
	}
	return ch, lost, nil
}

func (u *Subscription) signal() {
	select {
	case u.ready <- struct{}{}:
	default:
	}
}

// Close ends the subscription.
func (u *Subscription) Close() {
	u.set.mu.Lock()
	delete(u.set.open, u)
	u.set.mu.Unlock()
	u.end()
}

func (u *Subscription) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.signal()
}

func (u *Subscription) add(ch []Change) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var key []byte
	for i := range ch {
		if u.match != nil && !u.match(ch[i].Task, ch[i].Group) {
			continue
		}
		key = appendStoreKey(key[:0], ch[i].Task, ch[i].Group)
		values, known := u.latest[string(key)]
		grows := int64(len(key) + len(ch[i].Values))
		if !known && u.full(grows) {
			u.lost = true
			continue
		}
		if known { // values hardly grow: the latest always has room
			grows = int64(len(ch[i].Values) - len(values))
		}
		u.size += grows
		u.latest[string(key)] = bytes.Clone(ch[i].Values)
	}
	if len(u.latest) > 0 || u.lost {
		u.signal()
	}
}

// full says that another group, which grows it so, has no room.
func (u *Subscription) full(grows int64) bool {
	return len(u.latest) >= u.limit || len(u.latest) > 0 && u.size+grows > u.bytesMax
}

func (u *Subscription) lose() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lost = true
	u.signal()
}

// tell gives each subscription the changes that became visible.
func (b *subscriptions) tell(ch []Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for u := range b.open {
		u.add(ch)
	}
}

// tellLost is for changes that are too many to give.
func (b *subscriptions) tellLost() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for u := range b.open {
		u.lose()
	}
}

func (b *subscriptions) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for u := range b.open {
		u.end()
	}
	b.open = nil
}

func (b *subscriptions) any() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open) > 0
}
