package check

// committed reads a log's committed records in the order of their offsets, as a read-committed
// consumer gets them.
type committed struct {
	*parts
	queue   []Record          // from the first offset that is not decided
	verdict map[int64]Control // of the offsets in queue
	holes   int               // of the gaps, those that were seen
	over    bool
}

func openCommitted(d Dump, p Place) (*committed, error) {
	s, err := openParts(d, p)
	if err != nil {
		return nil, err
	}
	return &committed{parts: s, verdict: map[int64]Control{}}, nil
}

// read gives the next committed record; nil at the end, or at a transaction that is still open
// there.
func (c *committed) read() (*Record, error) {
	for {
		for len(c.queue) > 0 {
			rec := c.queue[0]
			outcome, known := c.verdict[rec.Offset]
			if !known {
				break
			}
			delete(c.verdict, rec.Offset)
			c.queue = c.queue[1:]
			if outcome == Commit {
				return &rec, nil
			}
		}
		if c.over {
			return nil, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads one record, and decides what it decides.
func (c *committed) fill() error {
	rec, err := c.record()
	if err != nil {
		return err
	}
	if rec == nil {
		c.over = true
		return nil
	}
	if len(c.gaps) > c.holes {
		for _, of := range c.open {
			c.cutOff(of)
		}
		c.holes = len(c.gaps)
	}
	id, of := txnID{rec.Producer, rec.Epoch}, c.open[rec.Producer]
	switch {
	case rec.Control != Data:
		if of != nil {
			c.decide(of, rec.Control)
		}
		return nil
	case !rec.Txn:
		c.verdict[rec.Offset] = Commit
	case of != nil && of.id == id:
		of.records = append(of.records, Record{Offset: rec.Offset})
	default:
		if of != nil {
			c.cutOff(of)
		}
		c.open[rec.Producer] = &part{id: id, records: []Record{{Offset: rec.Offset}}}
	}
	c.queue = append(c.queue, *rec)
	return nil
}

func (c *committed) decide(of *part, outcome Control) {
	delete(c.open, of.id.producer)
	for i := range of.records {
		c.verdict[of.records[i].Offset] = outcome
	}
}

// cutOff takes what was read of a transaction for missing, as its marker may be.
func (c *committed) cutOff(of *part) {
	c.decide(of, Abort)
	c.gaps = append(c.gaps, gap{of.records[0].Offset, of.last() + 1})
}
