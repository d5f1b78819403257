package state

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/tally-kafka/tally/internal/keysort"
)

// sorted returns the dirty entries in the order of their keys. Pebble takes a sorted batch faster.
func (c *cache) sorted() []keysort.Entry {
	sorted := make([]keysort.Entry, len(c.dirty))
	tasks := c.dirtyTasks()
	slices.SortFunc(tasks, func(a, b dirtyTask) int { return cmp.Compare(a.task, b.task) })
	next := 0
	for i := range tasks {
		tasks[i].next = next
		next += tasks[i].entries
	}
	for i, place := range c.dirty {
		c.touchDirty(i + touchAhead)
		key := c.log.at(place).key()
		t := &tasks[indexOf(tasks, keysort.Order(key))]
		sorted[t.next] = keysort.Entry{Order: keysort.Orders(key[keyGroup+t.common:]), At: place}
		t.next++
	}
	for _, t := range tasks {
		keysort.Sort(sorted[t.next-t.entries:t.next], c.tie)
	}
	return sorted
}

// tie compares entries of one task by their keys.
func (c *cache) tie(a, b keysort.Entry) int {
	return bytes.Compare(c.log.at(a.At).key(), c.log.at(b.At).key())
}

func (c *cache) touchSorted(sorted []keysort.Entry, i int) {
	if i < len(sorted) {
		c.touched += c.log.at(sorted[i].At).field(entryKey)
	}
}

func (c *cache) touchDirty(i int) {
	if i < len(c.dirty) {
		c.touched += c.log.at(c.dirty[i]).field(entryKey)
	}
}

// dirtyTask is one of the few tasks of a lane.
type dirtyTask struct {
	task    uint64 // its keys up to the group
	key     []byte // one of them
	common  int    // length of the prefix that all its dirty groups share
	entries int
	next    int // index of the next one in what is sorted
}

func indexOf(tasks []dirtyTask, task uint64) int {
	for i := range tasks {
		if tasks[i].task == task {
			return i
		}
	}
	return -1
}

// dirtyTasks finds the tasks of the dirty entries.
func (c *cache) dirtyTasks() []dirtyTask {
	var tasks []dirtyTask
	for i, place := range c.dirty {
		c.touchDirty(i + touchAhead)
		key := c.log.at(place).key()
		at := indexOf(tasks, keysort.Order(key))
		if at < 0 {
			at = len(tasks)
			tasks = append(tasks, dirtyTask{task: keysort.Order(key), key: key, common: len(key) - keyGroup})
		}
		t := &tasks[at]
		t.common = keysort.Shared(t.key[keyGroup:keyGroup+t.common], key[keyGroup:])
		t.entries++
	}
	return tasks
}
