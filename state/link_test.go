package state

import (
	"os"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// linkless is a file system without hard links, as several that are mounted over a network are.
type linkless struct {
	vfs.FS
	why   syscall.Errno
	links *int
}

func (l linkless) Link(from, to string) error {
	*l.links++
	return &os.LinkError{Op: "link", Old: from, New: to, Err: l.why}
}

// TestNoHardLinks: where a table cannot be linked into the store it is copied, durably; the store
// has not failed.
func TestNoHardLinks(t *testing.T) {
	for _, why := range []syscall.Errno{syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.EXDEV, syscall.EPERM, syscall.EMLINK} {
		t.Run(why.Error(), func(t *testing.T) {
			links, mem := 0, vfs.NewCrashableMem()
			opt := Options{Seam: newClock().seam(), FS: linkless{mem, why, &links}}
			s := mustOpen(t, "lane", opt)
			l := s.Load(LoadOptions{IngestBytes: 1})
			values := make([]byte, 2000)
			must(t, l.Value(Task{}, []byte("g"), values, 0))
			must(t, l.Advance(Task{}, 1))
			must(t, l.Finish())
			if links == 0 {
				t.Fatal("no link was asked for: this test shows nothing")
			}
			killed := mustOpen(t, "lane", Options{Seam: newClock().seam(), FS: mem.CrashClone(vfs.CrashCloneCfg{})})
			for name, s := range map[string]*Store{"the store": s, "what a crash leaves": killed} {
				if got, ok, err := s.Get(Task{}, []byte("g"), nil); err != nil || !ok || len(got) != len(values) {
					t.Errorf("%s: %d bytes, %v, %v", name, len(got), ok, err)
				}
				must(t, s.Close())
			}
		})
	}
}
