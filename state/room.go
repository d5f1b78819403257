package state

// waitRoom waits until Pebble's memtables and L0 have room for a batch, or Pebble has failed.
// Pebble would make the batch wait by itself, but for ever when a full disk keeps it from flushing,
// and could then not even be closed.
func (s *Store) waitRoom() error {
	full := uint64(memTablesMax) * uint64(s.opt.MemTableBytes)
	for {
		if err := s.watch.failure(); err != nil {
			return err
		}
		m := s.db.Metrics()
		if m.MemTable.Size < full && m.Levels[0].Sublevels < l0ReadsMax {
			return nil
		}
		s.watch.stalls.Add(1)
		select {
		case <-s.watch.worked:
		case <-s.watch.failed:
		}
	}
}
