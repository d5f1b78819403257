package processor

import "time"

const (
	sizeFirst   = 16 << 20  // bytes of a batch while nothing is known of the broker
	sizeLeast   = 256 << 10 // however slow it is
	commitQuick = time.Second
	// commitAim is how long the commit of a full batch may take: well below the transaction
	// timeout, at which the broker aborts it.
	commitAim = 3 * time.Second
)

// A size bounds a batch by what the broker takes, which a quota or a slow link may make little: a
// transaction that cannot be written within its timeout is aborted however often it is tried.
type size struct {
	most int64 // bytes as a batch weighs them; 0: nothing is known yet
}

// limit is how many bytes a batch may weigh, at most so many.
func (s *size) limit(most int64) int64 {
	if s.most == 0 {
		return min(most, sizeFirst)
	}
	return min(most, s.most)
}

// ended notes how long a batch took to commit, or to fail: where that was long, it was too large.
func (s *size) ended(bytes int64, took time.Duration, err error) {
	switch {
	case err != nil && took > commitQuick:
		s.most = max(sizeLeast, s.limit(bytes)/4)
	case err != nil:
	case took > commitQuick:
		s.most = max(sizeLeast, int64(float64(bytes)*float64(commitAim)/float64(took)))
	case s.most == 0:
		s.most = max(sizeFirst, 2*bytes)
	default:
		s.most = max(s.most, 2*bytes)
	}
}
