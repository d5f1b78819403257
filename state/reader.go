package state

import "github.com/cockroachdb/pebble/v2"

// reader reads many keys from Pebble. In ascending order each costs less than a Get: the tables are
// open, and what a key needs lies close to where the last one was.
//
// Invariant: it sees Pebble as it was when it was made. So it lives within one hold of the store's
// lock, in which every key is looked for in the cache first: no value goes from there meanwhile.
type reader struct {
	s  *Store
	it *pebble.Iterator
}

// newReader is called with a lock held. The reader must be closed.
func (s *Store) newReader() (*reader, error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return nil, classify(s.dir, err)
	}
	return &reader{s, it}, nil
}

// read appends the values of a key to dst; ok tells whether it has any.
func (r *reader) read(key, dst []byte) (values []byte, ok bool, err error) {
	if !r.it.SeekPrefixGE(key) {
		if err := r.it.Error(); err != nil {
			return dst, false, classify(r.s.dir, err)
		}
		r.s.count.absent.Add(1)
		return dst, false, nil
	}
	stored, err := r.it.ValueAndErr()
	if err != nil {
		return dst, false, classify(r.s.dir, err)
	}
	dst, err = r.s.appendValues(dst, stored)
	return dst, err == nil, err
}

// close returns err, or what the reader met at its end.
func (r *reader) close(err error) error {
	if cerr := r.it.Close(); err == nil && cerr != nil {
		return classify(r.s.dir, cerr)
	}
	return err
}
