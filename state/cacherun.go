package state

// touchRun keys are touched before they are used: their waits for memory overlap.
const touchRun = 32

// keyRun is a run of keys in the form of the store, with what was found of them ahead.
type keyRun struct {
	n       int
	buf     []byte
	ends    [touchRun]int
	hash    [touchRun]uint64
	touched uint32 // so that the compiler keeps the reads that touch
}

func (r *keyRun) reset() { r.n, r.buf = 0, r.buf[:0] }

func (r *keyRun) add(t Task, group []byte) {
	from := len(r.buf)
	r.buf = appendStoreKey(r.buf, t, group)
	r.added(from)
}

// addKey adds a key that is in the form of the store already.
func (r *keyRun) addKey(key []byte) {
	from := len(r.buf)
	r.buf = append(r.buf, key...)
	r.added(from)
}

func (r *keyRun) added(from int) {
	r.ends[r.n] = len(r.buf)
	r.hash[r.n] = hashKey(r.buf[from:])
	r.n++
}

func (r *keyRun) key(i int) []byte {
	from := 0
	if i > 0 {
		from = r.ends[i-1]
	}
	return r.buf[from:r.ends[i]]
}

// touch brings what a run will need into the processor's caches: first all slots, then all entries.
func (c *cache) touch(r *keyRun) {
	var home [touchRun]uint64
	for i, hash := range r.hash[:r.n] {
		home[i] = c.slots.load(c.slots.home(tagOf(hash)))
	}
	for i, word := range home[:r.n] {
		tag := tagOf(r.hash[i])
		for s := c.slots.home(tag); word != 0; word = c.slots.load(s) {
			if tagIn(word) == tag {
				e := c.log.at(placeIn(word))
				r.touched += e.field(entryKey) + uint32(e[min(len(e), lineBytes)-1])
				break
			}
			s = c.slots.next(s)
		}
	}
}

// lineBytes is how much memory comes at once: an entry often lies across two lines.
const lineBytes = 64
