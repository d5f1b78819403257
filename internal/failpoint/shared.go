package failpoint

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/tally-kafka/tally/internal/step"
)

// Env names the environment variable with the path of a node's memory.
const Env = "TALLY_FAILPOINT_SHARED"

// Names are all steps, in the order in which the memory has them.
var Names = slices.Concat(step.All, step.TwoStages, step.Resets)

// memory is what both sides map. A step is its index in Names plus one; 0 is none.
type memory struct {
	armed    atomic.Uint64 // the step, and above it how many hits are left
	holdMs   atomic.Uint64 // the longest hold
	fired    atomic.Uint64 // how often a goroutine was held
	released atomic.Uint64 // up to which of these it may go on
	held     atomic.Uint64 // the step at which one is held now
	last     atomic.Uint64 // the step that was hit last
	clock    atomic.Int64  // seconds by which the clock is off
	power    atomic.Uint64 // 1: it is to be cut
	counts   [64]atomic.Uint64
}

const hitsShift = 16

// Shared is one node's memory, of either side. Its methods may be called from any goroutine.
type Shared struct {
	file  *os.File
	bytes []byte
	m     *memory
	index map[step.Name]uint64
}

// Open maps the file, which is made when it is not there.
func Open(path string) (*Shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	const size = int(unsafe.Sizeof(memory{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	s := &Shared{file: f, bytes: b, m: (*memory)(unsafe.Pointer(&b[0])), index: map[step.Name]uint64{}}
	for i, n := range Names {
		s.index[n] = uint64(i + 1)
	}
	if len(Names) > len(s.m.counts) {
		panic(fmt.Sprintf("failpoint: %d steps, room for %d", len(Names), len(s.m.counts)))
	}
	return s, nil
}

// Close unmaps the file.
func (s *Shared) Close() error {
	if err := syscall.Munmap(s.bytes); err != nil {
		return err
	}
	return s.file.Close()
}

// Hit is the node's hook.
func (s *Shared) Hit(n step.Name) {
	i := s.index[n]
	if i == 0 {
		panic(fmt.Sprintf("failpoint: the step %q is in no list of internal/step", n))
	}
	s.m.counts[i-1].Add(1)
	s.m.last.Store(i)
	for {
		a := s.m.armed.Load()
		if a&(1<<hitsShift-1) != i {
			return
		}
		if left := a >> hitsShift; left > 1 {
			if s.m.armed.CompareAndSwap(a, (left-1)<<hitsShift|i) {
				return
			}
		} else if s.m.armed.CompareAndSwap(a, 0) {
			s.hold(i)
			return
		}
	}
}

func (s *Shared) hold(i uint64) {
	longest := time.Duration(s.m.holdMs.Load()) * time.Millisecond
	mine := s.m.fired.Add(1)
	s.m.held.Store(i)
	for end := time.Now().Add(longest); s.m.released.Load() < mine && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	s.m.held.Store(0)
}

// Now is a clock that is off by so many seconds as were said, and whose monotonic reading is not:
// as when somebody sets the machine's clock.
func (s *Shared) Now() time.Time {
	now := time.Now()
	if off := s.m.clock.Load(); off != 0 {
		addSeconds(&now, off)
	}
	return now
}

// addSeconds changes the wall clock's part of a time that has a monotonic reading: 30 bits of
// nanoseconds, and above them 33 bits of seconds.
func addSeconds(t *time.Time, seconds int64) {
	wall := (*uint64)(unsafe.Pointer(t))
	const monotonic = 1 << 63
	if *wall&monotonic == 0 {
		panic("failpoint: a time without a monotonic reading")
	}
	*wall += uint64(seconds << 30)
}

// Reset forgets everything: the node that comes next has hit nothing.
func (s *Shared) Reset() {
	clear(s.bytes)
}

// Arm has the node hold the goroutine that comes to the step for the n-th time from now, for as
// long as holdMax. What was armed before is not any more.
func (s *Shared) Arm(n step.Name, hits int, holdMax time.Duration) {
	i := s.index[n]
	if i == 0 || hits < 1 {
		panic(fmt.Sprintf("failpoint: arm %q at hit %d", n, hits))
	}
	s.m.holdMs.Store(uint64(holdMax.Milliseconds()))
	s.m.armed.Store(uint64(hits)<<hitsShift | i)
}

// Disarm takes back what has not fired yet, and lets go what is held.
func (s *Shared) Disarm() {
	s.m.armed.Store(0)
	s.Release()
}

// Release lets go what is held.
func (s *Shared) Release() { s.m.released.Store(s.m.fired.Load()) }

// Held is the step at which the node holds a goroutine now; "" for none.
func (s *Shared) Held() step.Name { return name(s.m.held.Load()) }

// Last is the step that the node hit last; "" for none.
func (s *Shared) Last() step.Name { return name(s.m.last.Load()) }

// Count is how often the node has hit a step.
func (s *Shared) Count(n step.Name) uint64 { return s.m.counts[s.index[n]-1].Load() }

// SetClock sets the node's clock off by so many seconds.
func (s *Shared) SetClock(seconds int64) { s.m.clock.Store(seconds) }

// CutPower has the node lose what its disk may lose, and end.
func (s *Shared) CutPower() { s.m.power.Store(1) }

// AwaitPowerCut is the node's: it waits until that is asked for.
func (s *Shared) AwaitPowerCut() {
	for s.m.power.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
}

func name(i uint64) step.Name {
	if i == 0 || i > uint64(len(Names)) {
		return ""
	}
	return Names[i-1]
}
