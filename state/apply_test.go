package state

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Readers that fill the cache and make room in it do not disturb an apply, which reads the dirty
// entries meanwhile. With -race this fails where they may.
func TestApplyWhileReadersFill(t *testing.T) {
	fs := vfs.NewMem()
	opt := smallOptions(fs, newClock())
	opt.CacheBytes, opt.ApplyTxns = 24<<10, 3
	s := mustOpen(t, "lane", opt)
	task := Task{0, 0}
	group := func(i int) []byte { return fmt.Appendf(nil, "group-%04d", i%997) }
	want := map[string]string{}
	var done atomic.Bool
	var readers sync.WaitGroup
	for r := range 2 {
		readers.Go(func() {
			for i := r; !done.Load(); i += 131 {
				var groups [][]byte
				for k := range 40 {
					groups = append(groups, group(i+k*17))
				}
				must(t, s.GetMany(task, groups, func(int, []byte, bool) {}))
			}
		})
	}
	readers.Go(func() {
		for !done.Load() {
			cut, err := s.Cut()
			must(t, err)
			cut.Close()
		}
	})
	for n := range 300 {
		var ch []Change
		for k := range 12 {
			g, v := group(n*7+k*83), fmt.Sprintf("%d-%d-%0*d", n, k, 1+n%40, k)
			ch = append(ch, Change{Task: task, Group: g, Values: []byte(v)})
			want[string(g)] = v
		}
		pos := Position{Record: PositionRecord{Task: task, AppID: testIdentity.AppID}, Changelog: int64(n + 1)}
		must(t, s.Publish([]Position{pos}, ch))
	}
	done.Store(true)
	readers.Wait()
	must(t, s.Close())
	s = mustOpen(t, "lane", opt)
	defer func() { must(t, s.Close()) }()
	for g, v := range want {
		if got, ok, err := s.Get(task, []byte(g), nil); err != nil || !ok || string(got) != v {
			t.Fatalf("%s has %q, %v, %v, want %q", g, got, ok, err, v)
		}
	}
}
