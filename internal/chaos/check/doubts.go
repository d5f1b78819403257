package check

// doubts says of which transactions a part may be among the records of a log that nobody has read:
// a producer's transactions come in the order of their epochs, so those that may be are between the
// one that ended before the gap and the first that ended behind it.
type doubts struct {
	first gap   // of all
	lost  int64 // offsets in them
	holes int
	last  map[int64]int16 // the epoch of each producer's last part
	seen  map[int64]int   // the gaps below that
	by    map[int64][]epochsOf
}

// epochsOf are epochs of one producer: above one, up to another.
type epochsOf struct{ above, upTo int32 }

const epochsAll = 1 << 16

func newDoubts() *doubts {
	return &doubts{last: map[int64]int16{}, seen: map[int64]int{}, by: map[int64][]epochsOf{}}
}

// part takes the next part that has ended, with the gaps below its marker.
func (d *doubts) part(p *part, gaps []gap) {
	if len(gaps) > d.seen[p.id.producer] {
		d.doubt(p.id.producer, int32(p.id.epoch))
	}
	d.last[p.id.producer], d.seen[p.id.producer] = p.id.epoch, len(gaps)
}

// end is the end of the log.
func (d *doubts) end(gaps []gap) {
	if d.holes = len(gaps); d.holes == 0 {
		return
	}
	d.first = gaps[0]
	for _, g := range gaps {
		d.lost += g.to - g.from
	}
	for producer := range d.last {
		if d.seen[producer] < d.holes {
			d.doubt(producer, epochsAll)
		}
	}
}

func (d *doubts) doubt(producer int64, upTo int32) {
	above := int32(-1)
	if last, known := d.last[producer]; known {
		above = int32(last)
	}
	d.by[producer] = append(d.by[producer], epochsOf{above, upTo})
}

// about reports whether a part of a transaction may be missing.
func (d *doubts) about(id txnID) bool {
	if d == nil || d.holes == 0 {
		return false
	}
	if _, known := d.last[id.producer]; !known {
		return true
	}
	for _, e := range d.by[id.producer] {
		if epoch := int32(id.epoch); e.above < epoch && epoch <= e.upTo {
			return true
		}
	}
	return false
}
