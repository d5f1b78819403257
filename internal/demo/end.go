package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// end stops what runs, unless it is to be kept, and removes what was made. It may make an error of
// a process that does not end.
func (s *show) end(err error) error {
	s.view.clear()
	if err == nil && s.opt.Keep {
		s.closeAdmin()
		return nil
	}
	err = s.first(err, s.producer.stop(stopWait))
	s.deleteApp()
	for _, done := range s.stopNodes() {
		err = s.first(err, <-done)
	}
	err = s.first(err, s.dropTopics())
	s.closeAdmin()
	err = s.first(err, s.broker.stop(stopWait))
	_ = s.childEnd.Close() // nil, where nothing was started, says so
	_ = s.ownEnd.Close()
	if s.made {
		err = s.first(err, os.RemoveAll(s.dir))
	}
	return err
}

// stopNodes ends all nodes at once. Those whose data goes too are killed: the last ones of a
// cluster would look in vain for somebody who takes their lanes.
func (s *show) stopNodes() (stops []<-chan error) {
	for _, n := range s.nodes {
		p, done := n.now(), make(chan error, 1)
		stops = append(stops, done)
		go func() {
			if s.made && p != nil {
				p.kill()
				done <- nil
				return
			}
			done <- p.stop(stopWait)
		}()
	}
	return stops
}

func (s *show) closeAdmin() {
	if s.admin != nil {
		s.admin.Close()
	}
}

// deleteApp has the cluster end the app and its transactions on a Kafka that is not the demo's own.
// It cannot where a submit that was broken off is still on its way, or no node answers; then the
// nodes end with the app, and dropTopics does without them.
func (s *show) deleteApp() {
	if s.broker != nil || !s.submitted {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	_, _ = s.tally(ctx, "delete", s.names.app, "--topics", "--yes", "--server", s.ask().url())
}

// dropTopics takes away again what is left of the app on a Kafka that is not the demo's own. The
// nodes have ended, so nothing is made anew.
func (s *show) dropTopics() error {
	if s.broker != nil || !s.submitted {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	err := errors.Join(s.admin.DeleteTopics(ctx, s.names.all()...), s.admin.DeleteGroup(ctx, s.names.app))
	if err != nil {
		err = fmt.Errorf("the demo's topics and consumer group, which begin with %s, are not all deleted: %w", s.names.app, err)
	}
	return err
}

// first is the error that Run returns when there are two; the other one is said at once.
func (s *show) first(err error, next error) error {
	if err != nil && next != nil {
		fmt.Fprintln(s.opt.Err, "tally demo:", next)
		return err
	}
	return cmp.Or(err, next)
}

func (s *show) sayKept() {
	tally := s.opt.Binary
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, tally); err == nil && !strings.HasPrefix(rel, "..") {
			tally = "./" + rel
		}
	}
	at := ""
	if s.nodes[0].addr != preferredAddr {
		at = " --server " + s.nodes[0].url()
	}
	what, pids := "the nodes are", ""
	for _, n := range s.nodes {
		pids += fmt.Sprintf(" %d", n.now().pid())
	}
	if s.broker != nil {
		what, pids = "broker and nodes are", pids+fmt.Sprintf(" %d", s.broker.pid())
	}
	s.view.say("%s left running; data and logs are in %s. Try:", what, s.dir)
	s.view.say("  %s status%s", tally, at)
	s.view.say("  %s top%s", tally, at)
	s.view.say("  echo 'ada:Hello Kafka' | %s produce --topic %s --key-delimiter :%s", tally, s.names.input, at)
	s.view.say("  %s get ada hello%s", tally, at)
	s.view.say("  kill -9 %d; %s status%s", s.nodes[1].now().pid(), tally, " --server "+s.nodes[0].url())
	s.view.say("and end them with: kill%s", pids)
}
