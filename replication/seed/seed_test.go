package seed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// world is a time that passes when somebody waits for it.
type world struct {
	mu  sync.Mutex
	now time.Time
}

func (w *world) seam() seam.Seam {
	s := seam.World()
	s.Now = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.now
	}
	s.Timer = func(d time.Duration) (<-chan time.Time, func()) {
		w.pass(d)
		c := make(chan time.Time, 1)
		c <- s.Now()
		return c, func() {}
	}
	return s
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// stand is a keeper with a directory of files to give out, and a place to fetch them to.
type stand struct {
	t      *testing.T
	world  *world
	keeper *Keeper
	dir    string // of the checkpoint
	to     string
	files  map[string][]byte
	made   int   // checkpoints
	sent   int64 // bytes
}

func newStand(t *testing.T) *stand {
	w := &world{now: time.Unix(1000, 0)}
	s := &stand{t: t, world: w, dir: filepath.Join(t.TempDir(), "0.checkpoint"), to: filepath.Join(t.TempDir(), "files"), files: map[string][]byte{}}
	s.keeper = NewKeeper(Config{Seam: w.seam(), Pace: NewPace(w.seam(), 64<<20)})
	rng := rand.New(rand.NewPCG(1, 1))
	for i, size := range []int{0, 1, 1000, bufferBytes, bufferBytes + 1, 3<<20 + 7, pieceBytes + 12345} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		s.files[fmt.Sprintf("%06d.sst", i)] = b
	}
	return s
}

// checkpoint writes the files, as a store would, with Pebble's lock among them.
func (s *stand) checkpoint(_ context.Context, dir string) error {
	s.made++
	must(s.t, os.Mkdir(dir, 0o755))
	for name, b := range s.files {
		must(s.t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	return os.WriteFile(filepath.Join(dir, lockName), nil, 0o644)
}

func (s *stand) offer(of, id string) Offer {
	s.t.Helper()
	o, err := s.keeper.Offer(s.t.Context(), Wish{Dir: s.dir, Of: of, ID: id}, s.checkpoint)
	must(s.t, err)
	return o
}

// source reads from the keeper; through may change what comes.
func (s *stand) source(o Offer, through func(file string, from int64, r io.Reader) io.Reader) Source {
	return func(ctx context.Context, file string, from, bytes int64) (io.ReadCloser, error) {
		r, size, err := s.keeper.Open(ctx, s.dir, o.ID, file, from, bytes)
		if err != nil {
			return nil, err
		}
		if want := min(bytes, int64(len(s.files[file]))-from); size != want {
			s.t.Errorf("%s from %d on: %d bytes of %d", file, from, size, want)
		}
		var in io.Reader = r
		if through != nil {
			in = through(file, from, r)
		}
		return struct {
			io.Reader
			io.Closer
		}{counted{in, &s.sent}, r}, nil
	}
}

type counted struct {
	io.Reader
	n *int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	*c.n += int64(n)
	return n, err
}

func (s *stand) fetch(o Offer, source Source) error {
	return Fetch(s.t.Context(), Fetching{Dir: s.to, Offer: o, Source: source, Pace: NewPace(s.world.seam(), 32<<20), Seam: s.world.seam()})
}

// whole fails unless exactly the files are there.
func (s *stand) whole() {
	s.t.Helper()
	entries, err := os.ReadDir(s.to)
	must(s.t, err)
	if len(entries) != len(s.files) {
		s.t.Fatalf("%d files, not %d", len(entries), len(s.files))
	}
	for name, want := range s.files {
		got, err := os.ReadFile(filepath.Join(s.to, name))
		must(s.t, err)
		if !bytes.Equal(got, want) {
			s.t.Fatalf("%s differs", name)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// All files come over, what is not of the offer goes, and it takes as long as the slower pace says.
func TestFetch(t *testing.T) {
	s := newStand(t)
	must(t, os.MkdirAll(filepath.Join(s.to, "old"), 0o755))
	must(t, os.WriteFile(filepath.Join(s.to, "stale.sst"), []byte("x"), 0o644))
	o, began := s.offer("lane", ""), s.world.now
	must(t, s.fetch(o, s.source(o, nil)))
	s.whole()
	if took, want := s.world.now.Sub(began), time.Duration(o.Bytes()*int64(time.Second)/(32<<20)); took < want*9/10 || took > want*2 {
		t.Errorf("%d bytes took %v, not %v", o.Bytes(), took, want)
	}
	if s.sent != o.Bytes() {
		t.Errorf("%d bytes were sent of %d", s.sent, o.Bytes())
	}
}

// cutAfter ends a reader with an error after n bytes.
func cutAfter(r io.Reader, n int64) io.Reader {
	return io.MultiReader(io.LimitReader(r, n), failing{})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut") }

// Cuts cost nothing but what was on its way, within one Fetch and over an end of the process.
func TestFetchGoesOn(t *testing.T) {
	s := newStand(t)
	o := s.offer("lane", "")
	rng := rand.New(rand.NewPCG(2, 2))
	cuts := 0
	must(t, s.fetch(o, s.source(o, func(_ string, _ int64, r io.Reader) io.Reader {
		cuts++
		return cutAfter(r, 1+rng.Int64N(3<<20))
	})))
	s.whole()
	if s.sent != o.Bytes() || cuts < 10 {
		t.Errorf("%d bytes were sent of %d, with %d cuts", s.sent, o.Bytes(), cuts)
	}

	must(t, os.RemoveAll(s.to))
	s.sent = 0
	dead := false
	err := s.fetch(o, s.source(o, func(_ string, _ int64, r io.Reader) io.Reader {
		if s.sent < 5<<20 && !dead {
			return cutAfter(r, 1<<20)
		}
		dead = true
		return failing{}
	}))
	if err == nil {
		t.Fatal("it has fetched from a dead node")
	}
	had := s.sent
	again := s.offer("lane", o.ID)
	if again.ID != o.ID || s.made != 1 {
		t.Fatalf("another checkpoint is offered: %d were made", s.made)
	}
	must(t, s.fetch(again, s.source(again, nil)))
	s.whole()
	if s.sent != o.Bytes() || had == 0 {
		t.Errorf("%d bytes were sent of %d, %d of them before the end", s.sent, o.Bytes(), had)
	}
}

// A byte that is not what was offered is not taken, wherever it came in.
func TestFetchRefusesFlippedByte(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "always": 1000} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			o := s.offer("lane", "")
			flips := 0
			err := s.fetch(o, s.source(o, func(file string, from int64, r io.Reader) io.Reader {
				if file != "000005.sst" || from > 0 || flips == times {
					return r
				}
				flips++
				b, _ := io.ReadAll(r)
				b[2<<20] ^= 1
				return bytes.NewReader(b)
			}))
			if times == 1 {
				must(t, err)
				s.whole()
				return
			}
			var sum *SumError
			if !errors.As(err, &sum) || sum.File != "000005.sst" || there(filepath.Join(s.to, sum.File)) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// A file that was damaged after it had come is not taken either.
func TestFetchChecksWhatIsThere(t *testing.T) {
	s := newStand(t)
	o := s.offer("lane", "")
	must(t, s.fetch(o, s.source(o, nil)))
	path := filepath.Join(s.to, "000002.sst")
	b := bytes.Clone(s.files["000002.sst"])
	b[0] ^= 1
	must(t, os.WriteFile(path, b, 0o644))
	s.sent = 0
	must(t, s.fetch(o, s.source(o, nil)))
	s.whole()
	if s.sent != int64(len(b)) {
		t.Errorf("%d bytes were sent", s.sent)
	}
}

func TestFetchEnds(t *testing.T) {
	s := newStand(t)
	o := s.offer("lane", "")
	must(t, s.keeper.Done(s.dir, o.ID))
	if err := s.fetch(o, s.source(o, nil)); !errors.Is(err, ErrGone) {
		t.Errorf("a checkpoint that is gone: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o = s.offer("lane", "")
	source := s.source(o, func(string, int64, io.Reader) io.Reader { cancel(); return failing{} })
	err := Fetch(ctx, Fetching{Dir: s.to, Offer: o, Source: source, Pace: NewPace(s.world.seam(), 1<<20), Seam: s.world.seam()})
	if err == nil {
		t.Error("it goes on after its end")
	}

	must(t, s.fetch(o, s.source(o, nil)))
	err = Fetch(ctx, Fetching{Dir: s.to, Offer: o, Source: source, Pace: NewPace(s.world.seam(), 1<<20), Seam: s.world.seam()})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with all files there it is not ended by its context: %v", err)
	}
}

// What the disk here does not take is not asked for again.
func TestFetchOntoAFullDisk(t *testing.T) {
	s := newStand(t)
	o := s.offer("lane", "")
	must(t, os.MkdirAll(s.to, 0o755))
	must(t, os.Symlink("/dev/full", filepath.Join(s.to, o.Files[1].Name)))
	asked := 0
	err := s.fetch(o, s.source(o, func(_ string, _ int64, r io.Reader) io.Reader { asked++; return r }))
	if !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.ENOSPC) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// An offer that nobody waits for any more is not summed up to its end, and not kept.
func TestOfferEndsWithItsCaller(t *testing.T) {
	s := newStand(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.keeper.Offer(ctx, Wish{Dir: s.dir, Of: "lane"}, func(_ context.Context, dir string) error {
		defer cancel()
		must(t, os.MkdirAll(dir, 0o755))
		return os.WriteFile(filepath.Join(dir, "000001.sst"), []byte("x"), 0o644)
	})
	if !errors.Is(err, context.Canceled) || there(s.dir) {
		t.Errorf("%v, and the checkpoint is left: %v", err, there(s.dir))
	}
}

// An offer whose files would land elsewhere is none.
func TestOfferIsChecked(t *testing.T) {
	s := newStand(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", `a\b`, "a\x00"} {
		o := Offer{ID: "x", Files: []File{{Name: name, Bytes: 1}}}
		if err := s.fetch(o, nil); err == nil {
			t.Errorf("a file %q is taken", name)
		}
	}
	for _, o := range []Offer{{}, {ID: "x"}, {ID: "x", Files: []File{{Name: "a", Bytes: -1}}}, {ID: "x", Files: []File{{Name: "a"}, {Name: "a"}}}} {
		if err := s.fetch(o, nil); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// A lane has one checkpoint at a time, which others may share while it is fresh or in use, which is
// gone when the last is done or it has lived, and which is of one thing.
func TestKeeper(t *testing.T) {
	s := newStand(t)
	a := s.offer("lane", "")
	if b := s.offer("lane", ""); b.ID != a.ID || s.made != 1 {
		t.Fatal("a fresh checkpoint is not shared")
	}
	must(t, s.keeper.Done(s.dir, a.ID))
	if !there(s.dir) {
		t.Fatal("it is gone although one reads it")
	}
	must(t, s.keeper.Done(s.dir, a.ID))
	if there(s.dir) {
		t.Fatal("it is there although nobody reads it")
	}

	a = s.offer("lane", "")
	s.world.pass(time.Minute)
	if b := s.offer("lane", ""); b.ID == a.ID {
		t.Fatal("an old checkpoint is shared")
	}
	if _, _, err := s.keeper.Open(t.Context(), s.dir, a.ID, "000001.sst", 0, 1); !errors.Is(err, ErrGone) {
		t.Fatalf("two at a time: %v", err)
	}
	a = s.offer("lane", "")
	for range 3 { // in use
		s.world.pass(20 * time.Second)
		_, _, err := s.keeper.Open(t.Context(), s.dir, a.ID, "000001.sst", 0, 1)
		must(t, err)
	}
	if b := s.offer("lane", ""); b.ID != a.ID {
		t.Fatal("one that is read is replaced")
	}
	s.world.pass(time.Minute)
	if b := s.offer("lane", a.ID); b.ID != a.ID {
		t.Fatal("the one that was asked for is replaced")
	}
	if b := s.offer("lane of generation 2", a.ID); b.ID == a.ID {
		t.Fatal("one of another generation is offered")
	}

	a = s.offer("lane", "")
	s.world.pass(9 * time.Minute)
	s.keeper.tidy(s.keeper.cfg.Life)
	if !there(s.dir) {
		t.Fatal("it has not lived for its life")
	}
	s.world.pass(2 * time.Minute)
	s.keeper.tidy(s.keeper.cfg.Life)
	if there(s.dir) {
		t.Fatal("it has outlived its life")
	}
	if _, _, err := s.keeper.Open(t.Context(), s.dir, a.ID, "000001.sst", 0, 1); !errors.Is(err, ErrGone) {
		t.Fatalf("got %v", err)
	}
}

func TestKeeperRefuses(t *testing.T) {
	s := newStand(t)
	o := s.offer("lane", "")
	for _, c := range []struct {
		file        string
		from, bytes int64
	}{{"../x", 0, 1}, {lockName, 0, 1}, {"000001.sst", 2, 1}, {"000001.sst", -1, 1}, {"000001.sst", 0, -1}} {
		if _, _, err := s.keeper.Open(t.Context(), s.dir, o.ID, c.file, c.from, c.bytes); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	full := errors.New("full")
	s.world.pass(time.Hour)
	if _, err := s.keeper.Offer(t.Context(), Wish{Dir: s.dir}, func(context.Context, string) error { return full }); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.offer("lane", "")
	go s.keeper.Run(ctx)
	cancel()
	for end := time.Now().Add(10 * time.Second); there(s.dir); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a keeper that has ended leaves its checkpoint")
		}
	}
}
