package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// group is what the demo counts by: who said which word.
type group struct{ user, word string }

// sent is what was sent so far, and how often each user said each word: counted from the words that
// the sentences are made of, so that no splitting is involved.
type sent struct {
	mu     sync.Mutex
	events int
	counts map[group]int64
}

func (s *sent) add(user string, words []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events++
	for _, w := range words {
		s.counts[group{user, strings.ToLower(w)}]++
	}
}

func (s *sent) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

var (
	users = strings.Fields("ada alan barbara dennis donald edsger grace john ken leslie margaret tony")
	words = strings.Fields(`Kafka Spark Raft Pebble event stream table log offset epoch fence lane count exactly
		once never twice reads writes commits aborts and the a of in to before after while Größe данные
		über naïve café 42 2026 broker node topic partition record key value`)
)

// chance is a small generator of its own (xorshift): the demo sends the same sentences each time.
type chance uint64

func (c *chance) below(n int) int {
	x := *c
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*c = x
	return int(uint64(x) % uint64(n))
}

// favour draws below n, smaller numbers more often, so that there is a top to show.
func (c *chance) favour(n int) int { return min(c.below(n), c.below(n), c.below(n)) }

// sentence draws who speaks and the words, and how it is written.
func (c *chance) sentence() (user string, said []string, text string) {
	user = users[c.favour(len(users))]
	var b strings.Builder
	for i := range 2 + c.below(7) {
		if i > 0 {
			b.WriteString([]string{" ", " ", " ", ", ", " - "}[c.below(5)])
		}
		w := words[c.favour(len(words))]
		said = append(said, w)
		b.WriteString(w)
	}
	b.WriteString([]string{".", "!", "", "?"}[c.below(4)])
	return user, said, b.String()
}

// feed writes all sentences to the producer, at the pace asked for, and closes its input, so that
// it ends.
func (s *show) feed(ctx context.Context, to io.WriteCloser) (err error) {
	defer func() { err = errors.Join(err, to.Close()) }()
	const step = 10 * time.Millisecond
	c := chance(0x7a11)
	began := s.opt.Seam.Now()
	for s.sent.total() < s.opt.Events {
		due := int(s.opt.Seam.Since(began) * time.Duration(s.opt.PerSecond) / time.Second)
		for n := s.sent.total(); n < min(due, s.opt.Events); n++ {
			user, said, text := c.sentence()
			if _, err := fmt.Fprintf(to, "%s:%s\n", user, text); err != nil {
				return err
			}
			s.sent.add(user, said)
		}
		if err := s.opt.Seam.Sleep(ctx, step); err != nil {
			return err
		}
	}
	return nil
}
