package failpoint

import (
	"fmt"
	"os"
	"os/signal"
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
	armed  [Slots]atomic.Uint64 // see arming; one line of the processor's cache, of which each hit reads all
	last   atomic.Uint64        // the step that was hit last
	clock  atomic.Int64         // seconds by which the clock is off
	power  atomic.Uint64        // 1: it is to be cut
	hangs  atomic.Uint64        // 1: the disk syncs nothing until it is 0 again
	full   atomic.Uint64        // 1: the disk has no room
	counts [64]atomic.Uint64

	wrong   atomic.Uint64 // times that the node was told while its clock was off
	waits   atomic.Uint64 // syncs that waited for the disk
	refused atomic.Uint64 // writes for which there was no room
}

// Slots is how many steps of a node can be armed at a time.
const Slots = 8

// arming is what a slot has, in one word, so that each change of it is one instruction: whose it
// is, the longest hold, how many hits are left, and the step. Without hits left a goroutine is held
// until the word changes; 0 is a free slot.
type arming uint64

const (
	stepBits, hitsBits, holdBits, ofBits = 8, 12, 20, 24

	hitsShift = stepBits
	holdShift = hitsShift + hitsBits
	ofShift   = holdShift + holdBits
)

// HitsMax and HoldMax are the most that Arm takes.
const (
	HitsMax = 1<<hitsBits - 1
	HoldMax = (1<<holdBits - 1) * time.Millisecond
)

func newArming(of, step uint64, hits int, holdMax time.Duration) arming {
	return arming(of<<ofShift | uint64(holdMax.Milliseconds())<<holdShift | uint64(hits)<<hitsShift | step)
}

func (a arming) step() uint64 { return uint64(a) & (1<<stepBits - 1) }
func (a arming) hits() uint64 { return uint64(a) >> hitsShift & HitsMax }
func (a arming) of() uint64   { return uint64(a) >> ofShift }
func (a arming) holdMax() time.Duration {
	return time.Duration(uint64(a)>>holdShift&(1<<holdBits-1)) * time.Millisecond
}

// hit is the arming after a hit of its step.
func (a arming) hit() arming { return a - 1<<hitsShift }

// Shared is one node's memory, of either side. Its methods may be called from any goroutine.
type Shared struct {
	file  *os.File
	bytes []byte
	m     *memory
	index map[step.Name]uint64
	of    atomic.Uint64 // the number of the last Arm of this side
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
	for k := range s.m.armed {
		s.meet(&s.m.armed[k], i)
	}
}

// meet counts a hit of the step for one slot, and is held where it is the last.
func (s *Shared) meet(slot *atomic.Uint64, i uint64) {
	for {
		a := arming(slot.Load())
		if a.step() != i || a.hits() == 0 {
			return
		}
		if !slot.CompareAndSwap(uint64(a), uint64(a.hit())) {
			continue
		}
		if a = a.hit(); a.hits() == 0 {
			hold(slot, a)
		}
		return
	}
}

// hold waits until the slot is given to nobody or to another one, which it is after the longest
// time.
func hold(slot *atomic.Uint64, a arming) {
	for end := time.Now().Add(a.holdMax()); arming(slot.Load()) == a && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	slot.CompareAndSwap(uint64(a), 0)
}

// Now is a clock that is off by so many seconds as were said, and whose monotonic reading is not:
// as when somebody sets the machine's clock.
func (s *Shared) Now() time.Time {
	now := time.Now()
	if off := s.m.clock.Load(); off != 0 {
		addSeconds(&now, off)
		s.m.wrong.Add(1)
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

// Slot is what one Arm has taken; the zero Slot is of none.
type Slot struct {
	at int
	of uint64
}

// Arm has the node hold the goroutine that comes to the step for the n-th time from now, at most
// HitsMax, for as long as holdMax, at most HoldMax. What others have armed stays. Without a free
// slot it does nothing, and says so. The slot is taken until Disarm, a Reset, or the end of the
// hold.
func (s *Shared) Arm(n step.Name, hits int, holdMax time.Duration) (slot Slot, ok bool) {
	i := s.index[n]
	if i == 0 || hits < 1 || hits > HitsMax || holdMax < 0 || holdMax > HoldMax {
		panic(fmt.Sprintf("failpoint: arm %q at hit %d for %v", n, hits, holdMax))
	}
	of := s.of.Add(1) & (1<<ofBits - 1)
	for k := range s.m.armed {
		if s.m.armed[k].CompareAndSwap(0, uint64(newArming(of, i, hits, holdMax))) {
			return Slot{k, of}, true
		}
	}
	return Slot{}, false
}

// Disarm takes back what has not fired yet, or lets go what is held, of this Arm alone.
func (s *Shared) Disarm(slot Slot) {
	word := &s.m.armed[slot.at]
	for a := arming(word.Load()); a != 0 && a.of() == slot.of; a = arming(word.Load()) {
		if word.CompareAndSwap(uint64(a), 0) {
			return
		}
	}
}

// Held tells whether the node holds a goroutine of this Arm now.
func (s *Shared) Held(slot Slot) bool {
	a := arming(s.m.armed[slot.at].Load())
	return a != 0 && a.of() == slot.of && a.hits() == 0
}

// Last is the step that the node hit last; "" for none.
func (s *Shared) Last() step.Name { return name(s.m.last.Load()) }

// Count is how often the node has hit a step.
func (s *Shared) Count(n step.Name) uint64 { return s.m.counts[s.index[n]-1].Load() }

// WrongTimes is how often the node asked for the time while its clock was off.
func (s *Shared) WrongTimes() uint64 { return s.m.wrong.Load() }

// Waits is how many syncs of the node came while its disk hung.
func (s *Shared) Waits() uint64 { return s.m.waits.Load() }

// Refused is how many writes of the node had no room, about: of those of Raft at the same moment
// some count once.
func (s *Shared) Refused() uint64 { return s.m.refused.Load() }

// CountRefused is the node's: until stop is called, which has to be before Close, Refused has the
// writes, too, that fail since they would go beyond the size to which the process's files are
// limited (RLIMIT_FSIZE).
func (s *Shared) CountRefused() (stop func()) {
	refused, done := make(chan os.Signal, 64), make(chan struct{})
	signal.Notify(refused, syscall.SIGXFSZ)
	go func() {
		defer close(done)
		for range refused {
			s.m.refused.Add(1)
		}
	}()
	return func() {
		signal.Stop(refused)
		close(refused)
		<-done
	}
}

// SetClock sets the node's clock off by so many seconds.
func (s *Shared) SetClock(seconds int64) { s.m.clock.Store(seconds) }

// HangSyncs has the node's disk hang at each sync, or lets it go on.
func (s *Shared) HangSyncs(hang bool) {
	s.m.hangs.Store(map[bool]uint64{true: 1}[hang])
}

// AwaitSync is the node's: it waits until the disk syncs.
func (s *Shared) AwaitSync() {
	if s.m.hangs.Load() != 0 {
		s.m.waits.Add(1)
	}
	for s.m.hangs.Load() != 0 {
		time.Sleep(time.Millisecond)
	}
}

// FillDisk has the node's disk be full, or have room again.
func (s *Shared) FillDisk(full bool) {
	s.m.full.Store(map[bool]uint64{true: 1}[full])
}

// Room is the node's: the error of a write to a disk that is full, nil where there is room.
func (s *Shared) Room() error {
	if s.m.full.Load() == 0 {
		return nil
	}
	s.m.refused.Add(1)
	return syscall.ENOSPC
}

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
