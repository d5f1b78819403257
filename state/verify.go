package state

import (
	"context"
	"fmt"
	"slices"
)

// DigestError says that a task's values do not add up to what its position record says.
type DigestError struct {
	Task               Task
	WantGroups, Groups int64
	WantDigest, Digest uint64
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("stage %d, partition %d: the state has %d groups with digest %016x, "+
		"its position record says %d with %016x; remove the state directory of the lane: it is built again from the changelog",
		e.Task.Stage, e.Task.Partition, e.Groups, e.Digest, e.WantGroups, e.WantDigest)
}

// sum is what a task's values add up to.
type sum struct {
	groups int64
	digest uint64
}

// Verified tells whether Verify has passed since the store was created. It is remembered in the
// store: whoever loaded one from nothing verifies it once, before its values are used.
func (s *Store) Verified() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.verified
}

// Verify scans all values and compares the number of groups and the digest of each task with its
// position record: *DigestError if they differ. It must be called at the end of a transaction, as
// after a Load that reached a barrier, since between two position records the values are ahead.
func (s *Store) Verify(ctx context.Context) error {
	cut, err := s.Cut()
	if err != nil {
		return err
	}
	defer cut.Close()
	sums, err := cut.sums(ctx)
	if err != nil {
		return err
	}
	if err := compareSums(cut.positions, sums); err != nil {
		return err
	}
	return s.markVerified()
}

// sums adds up the values of every task that has any, also one without a position.
func (c *Cut) sums(ctx context.Context) (map[Task]sum, error) {
	sums := make(map[Task]sum)
	lower := storeKey(KindValue)
	err := c.scan(ctx, lower, after(lower), func(key, value []byte) error {
		t, group, err := splitStoreKey(key)
		if err != nil {
			return damaged(c.s.dir, err)
		}
		values, err := DecodeValue(value)
		if err != nil {
			return damaged(c.s.dir, err)
		}
		n := sums[t]
		sums[t] = sum{n.groups + 1, n.digest + Hash(group, values)}
		return nil
	})
	return sums, err
}

func compareSums(positions map[Task]Position, sums map[Task]sum) error {
	want := make(map[Task]sum, len(positions))
	for t := range sums {
		want[t] = sum{}
	}
	for t, p := range positions {
		want[t] = sum{p.Record.Groups, p.Record.Digest}
	}
	tasks := make([]Task, 0, len(want))
	for t := range want {
		tasks = append(tasks, t)
	}
	slices.SortFunc(tasks, compareTasks) // so that the same damage names the same task
	for _, t := range tasks {
		if want[t] != sums[t] {
			return &DigestError{
				Task: t, WantGroups: want[t].groups, Groups: sums[t].groups,
				WantDigest: want[t].digest, Digest: sums[t].digest,
			}
		}
	}
	return nil
}

func compareTasks(a, b Task) int {
	if a.Stage != b.Stage {
		return int(a.Stage) - int(b.Stage)
	}
	return int(a.Partition) - int(b.Partition)
}

// markVerified remembers it; the mark is durable with the next flush.
func (s *Store) markVerified() error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.writable(); err != nil || s.verified {
		return err
	}
	b := s.db.NewBatch()
	mustFinish(b.Set(storeKey(storeVerified), []byte{format, byte(storeVerified)}, nil))
	if err := s.commit(b); err != nil {
		return err
	}
	s.touch()
	s.mu.Lock()
	s.verified = true
	s.mu.Unlock()
	return nil
}
