package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/chaos/plan"
)

// tally runs a command against a node that runs.
func (w *World) tally(ctx context.Context, within time.Duration, args ...string) (out string, err error) {
	names := w.alive()
	if len(names) == 0 {
		return "", errors.New("no node runs")
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	args = append(slices.Clone(args), "--server", "http://"+w.nodes[names[int(time.Now().UnixNano())%len(names)]].listen)
	text, err := exec.CommandContext(ctx, w.opt.Bin, args...).CombinedOutput()
	if err != nil {
		return string(text), fmt.Errorf("tally %s: %w: %s", args[0], err, text)
	}
	return string(text), nil
}

// noApp is in the answer of a node that knows no app of the name.
const noApp = "the cluster has no app"

// insist runs a command until it succeeds: what is broken now will not be so for ever. What there
// is no app for is not waited for.
func (w *World) insist(ctx context.Context, within time.Duration, args ...string) error {
	for end := time.Now().Add(within); ; {
		_, err := w.tally(ctx, 15*time.Second, args...)
		if err == nil || time.Now().After(end) || ctx.Err() != nil || strings.Contains(err.Error(), noApp) {
			return err
		}
		<-time.After(200 * time.Millisecond)
	}
}

func (w *World) specFile(a history.App) string { return filepath.Join(w.opt.Dir, a.Name+".yaml") }

func (w *World) writeSpec(a history.App) error {
	return os.WriteFile(w.specFile(a), []byte(a.Spec), 0o644)
}

func (w *World) submit(ctx context.Context, a history.App, within time.Duration) error {
	return w.insist(ctx, within, "submit", w.specFile(a))
}

// wipe kills a node and takes its stores away, or all that it has on disk.
func (f *fault) wipe(ctx context.Context) error {
	return f.damage(ctx, func(n *node) error {
		if f.Param == "all" && f.w.canLose(ctx, n.name) {
			return os.RemoveAll(n.dir)
		}
		return os.RemoveAll(filepath.Join(n.dir, "state"))
	})
}

// canLose says whether, without a node, most of those that vote are alive still: one who forgets
// everything may not be one too many.
func (w *World) canLose(ctx context.Context, name string) bool {
	st, err := w.status(ctx)
	if err != nil || st.Leader == "" {
		return false
	}
	voters, left := 0, 0
	for _, n := range st.Nodes {
		if !n.Voter {
			continue
		}
		voters++
		if n.Name != name && n.Alive && w.nodes[n.Name].lively() && time.Since(w.viewed(n.Name)) < time.Second {
			left++
		}
	}
	return 2*left > voters
}

func (w *World) viewed(name string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.views[name].at
}

// flip kills a node and turns some bits over in its stores.
func (f *fault) flip(ctx context.Context) error {
	return f.damage(ctx, func(n *node) error {
		files, err := damageable(filepath.Join(n.dir, "state"))
		if err != nil || len(files) == 0 {
			return errors.Join(err, errors.New("there is no store to damage"))
		}
		for range 1 + f.rand.IntN(3) {
			path := pick(f.rand, files...)
			if err := f.flipIn(path); err != nil {
				return err
			}
			f.rec.Flipped = append(f.rec.Flipped, storeOf(n, path)+"/"+filepath.Base(path))
		}
		return nil
	})
}

// damageable are the files below a directory that have bits of a store which somebody will read: a
// lock has none, and what was set aside as damaged is not opened any more.
func damageable(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, damagedMark) {
			return nil // what is gone meanwhile is not damaged
		}
		if info, err := d.Info(); err == nil && info.Size() > 0 {
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

// storeOf is the store of a file, APP/LANE: the files of a checkpoint beside it are its own.
func storeOf(n *node, path string) string {
	rest, err := filepath.Rel(filepath.Join(n.dir, "state"), path)
	parts := strings.Split(filepath.ToSlash(rest), "/")
	if err != nil || len(parts) < 2 {
		return ""
	}
	lane, _, _ := strings.Cut(parts[1], ".")
	return parts[0] + "/" + lane
}

func (f *fault) flipIn(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	for range 1 + f.rand.IntN(8) {
		at, b := f.rand.Int64N(info.Size()), []byte{0}
		if _, err := file.ReadAt(b, at); err != nil {
			return err
		}
		b[0] ^= 1 << f.rand.IntN(8)
		if _, err := file.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}

func (f *fault) damage(ctx context.Context, do func(*node) error) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	f.came(1)
	n := f.w.nodes[f.hurt[0]]
	if !n.kill() {
		f.rec.Signal = 0
		return errors.New("there was nothing to kill")
	}
	err := n.atRest(func() error { return do(n) })
	f.last(ctx)
	return errors.Join(err, n.start())
}

// join has a further node come, and leave after a while.
func (f *fault) join(ctx context.Context) error {
	spare := f.spare()
	if spare == "" {
		return errors.New("all nodes run")
	}
	f.hurt = []string{spare}
	f.came(0)
	return f.w.joinFor(ctx, f.w.nodes[spare], f.For, f.end)
}

// joinFor starts a node, and stops it after a while, or when the end comes.
func (w *World) joinFor(ctx context.Context, n *node, length time.Duration, end time.Time) error {
	done := w.begin("joining", n.name)
	if err := n.start(); err != nil {
		done()
		return err
	}
	until := time.Now().Add(length)
	if until.After(end) {
		until = end
	}
	for time.Now().Before(until) && !slices.Contains(w.holders(false, ""), n.name) && ctx.Err() == nil {
		<-time.After(20 * time.Millisecond)
	}
	done()
	sleepUntil(ctx, until)
	w.awaitLeader(ctx) // which takes it out of the voters
	err := n.term(ctx)
	if errors.Is(err, errNotRunning) { // another fault has it just now
		return nil
	}
	return err
}

// awaitLeader waits until a node leads, for a while.
func (w *World) awaitLeader(ctx context.Context) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && ctx.Err() == nil; <-time.After(50 * time.Millisecond) {
		if st, err := w.status(ctx); err == nil && st.Leader != "" {
			return
		}
	}
}

// drain has a node give its lanes away, and lets it have some again after a while.
func (f *fault) drain(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	f.came(0)
	return f.w.drainFor(ctx, f.hurt[0], f.For)
}

func (w *World) drainFor(ctx context.Context, name string, length time.Duration) error {
	done := w.begin("draining", name)
	until := time.Now().Add(length)
	_, err := w.tally(ctx, max(time.Second, length), "drain", name, "--wait", length.String())
	done()
	sleepUntil(ctx, until)
	if undo := w.insist(ctx, time.Minute, "drain", name, "--undo"); undo != nil {
		return fmt.Errorf("drain --undo: %w", undo)
	}
	return err
}

// move has a lane go to the target.
func (f *fault) move(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	from := append(f.w.holders(false, f.Param), "")[0]
	if others := without(f.w.alive(), from); f.hurt[0] == from && len(others) > 0 {
		f.hurt[0] = pick(f.rand, others...) // it is there
	}
	f.rec.Lane = f.Param
	f.came(0)
	return f.w.moveLane(ctx, f.Param, from, f.hurt[0], 20*time.Second)
}

func (w *World) moveLane(ctx context.Context, lane, from, to string, within time.Duration) error {
	defer w.begin("moving", slices.DeleteFunc([]string{from, to}, func(n string) bool { return n == "" })...)()
	_, err := w.tally(ctx, within, "move", lane, to, "--wait", within.String())
	return err
}

// submit has a further app come, and be deleted after a while, sometimes with its topics. What it
// has counted until then is audited, which is the effect of this fault. One that differs stays, to
// be looked at.
func (f *fault) submit(ctx context.Context) error {
	f.w.passing.Lock()
	defer f.w.passing.Unlock()
	if time.Now().After(f.end) {
		return errors.New("there was no time for it")
	}
	app := f.w.apps[slices.IndexFunc(f.w.apps, func(a history.App) bool { return a.Passing })]
	f.hurt = []string{"cluster"}
	f.came(0)
	if err := f.w.submit(ctx, app, 20*time.Second); err != nil {
		return err
	}
	f.last(ctx)
	if f.auditDiffered(ctx, app.Name) {
		return nil
	}
	if f.rand.IntN(2) == 0 {
		return f.w.delete(ctx, app.Name)
	}
	if err := f.w.delete(ctx, app.Name, "--topics", "--yes"); err != nil {
		return err
	}
	f.w.awaitGone(ctx, app)
	return nil
}

// delete deletes an app. One that is not there any more was deleted by a try of which nobody heard.
func (w *World) delete(ctx context.Context, app string, flags ...string) error {
	err := w.insist(ctx, time.Minute, append([]string{"delete", app}, flags...)...)
	if err != nil && strings.Contains(err.Error(), noApp) {
		return nil
	}
	return err
}

const (
	// auditWithin is for how long an app that comes and goes is asked for an audit: one that cannot
	// be answered while something else is broken is asked for again.
	auditWithin = 40 * time.Second
	// auditDiffers is how tally audit exits when it has found a difference.
	auditDiffers = 4
)

// auditDiffered audits an app all of whose lanes run, as soon as that succeeds, and reports whether
// it has found a difference.
func (f *fault) auditDiffered(ctx context.Context, app string) bool {
	end := time.Now().Add(auditWithin)
	if end.After(f.end) {
		end = f.end
	}
	for ; time.Now().Before(end) && ctx.Err() == nil; <-time.After(time.Second) {
		if st, err := f.w.status(ctx); err != nil || running(st)[app] != Lanes {
			continue
		}
		switch code, out := f.w.auditOf(ctx, app, time.Until(end)); code {
		case 0:
			f.rec.Effects = 1
			return false
		case auditDiffers:
			f.w.problem("tally audit of %s exits %d: %s", app, code, out)
			return true
		}
	}
	return false
}

// goneWithin is how long Kafka may take to delete topics, while its brokers come and go.
const goneWithin = 30 * time.Second

// awaitGone wants the topics gone that tally owned.
func (w *World) awaitGone(ctx context.Context, app history.App) {
	var left []string
	for end := time.Now().Add(goneWithin); time.Now().Before(end) && ctx.Err() == nil; <-time.After(200 * time.Millisecond) {
		topics, err := w.admin.ListTopics(ctx)
		if err != nil {
			continue
		}
		left = nil
		for _, name := range []string{app.Changelog, app.Dead} {
			if topics.Has(name) {
				left = append(left, name)
			}
		}
		if len(left) == 0 {
			return
		}
	}
	if len(left) > 0 && ctx.Err() == nil {
		w.problem("tally delete --topics of %s has left %v", app.Name, left)
	}
}

// brokerKill kills a broker, or the one whose controller leads, and starts it again: when the
// others have fenced it, or with the parameter "at-once" before that, which may tear transactions;
// see testkafka.Bounce. Such a fault is never drawn, and can stand in a schedule.
func (f *fault) brokerKill(ctx context.Context) error {
	id, done, err := f.broker(ctx)
	if err != nil {
		return err
	}
	defer done()
	f.came(1)
	f.w.cluster.Kill(id)
	f.last(ctx)
	again := f.w.cluster.Restart
	if f.Param == plan.AtOnce {
		again = f.w.cluster.Bounce
	}
	if err := again(ctx, id); err != nil {
		if ctx.Err() != nil {
			return err
		}
		f.w.problem("broker %d does not start again: %v", id, err)
		return err
	}
	return nil
}

// brokerStop freezes a broker, through a change of leaders, and lets it go on.
func (f *fault) brokerStop(ctx context.Context) error {
	id, done, err := f.broker(ctx)
	if err != nil {
		return err
	}
	defer done()
	led, err := f.w.ledBy(ctx, id)
	if err != nil {
		return err
	}
	f.w.cluster.Stop(id)
	defer f.w.cluster.Cont(id)
	f.came(1)
	var lost int64
	f.lastUntilHit(ctx, func() int64 {
		if lost != 0 {
			return lost // known, and not to be asked again
		}
		if now, err := f.w.ledBy(ctx, id); err == nil {
			lost = int64(led - now)
		}
		return lost
	})
	return nil
}

// brokerCut keeps a broker from the others, in both directions or in one.
func (f *fault) brokerCut(ctx context.Context) error {
	id, done, err := f.broker(ctx)
	if err != nil {
		return err
	}
	defer done()
	for other := 1; other <= Brokers; other++ {
		if other != id {
			defer f.heal(f.cutBrokers(brokerName(id), brokerName(other)))
		}
	}
	f.came(0)
	f.last(ctx)
	return nil
}

// cutBrokers breaks the network between two brokers, as one of plan.BrokerCuts says.
func (f *fault) cutBrokers(broker, other string) (heal func() (hits int64)) {
	frost := link.Rule{Frozen: true}
	switch f.Param {
	case "cut":
		return f.w.links.BreakBoth(broker, other, link.Rule{Cut: true})
	case "to":
		return f.w.links.Break(broker, other, frost)
	case "from":
		return f.w.links.Break(other, broker, frost)
	}
	return f.w.links.BreakBoth(broker, other, frost)
}

// broker resolves the target, and keeps other faults of brokers away until done is called.
func (f *fault) broker(ctx context.Context) (id int, done func(), err error) {
	f.w.brokers.Lock()
	if time.Now().Add(time.Second).After(f.end) {
		err = errors.New("there was no time for it")
	} else if f.Kind == plan.ControllerKill {
		id, err = f.w.controller(ctx)
	} else {
		_, err = fmt.Sscanf(f.Target, "broker %d", &id)
	}
	if err != nil {
		f.w.brokers.Unlock()
		return 0, nil, err
	}
	f.hurt = []string{brokerName(id)}
	return id, f.w.brokers.Unlock, nil
}

// heal makes the network sound, and starts what does not run.
func (w *World) heal() (err error) {
	w.links.Heal()
	for _, name := range w.opt.Nodes {
		err = errors.Join(err, w.nodes[name].start())
	}
	return err
}

// partSpares has the further nodes leave that still run, one after the other, once all is well.
// They may be voters: two at once, while nobody leads, would take the majority with them for good,
// which is what `tally node recover` is for, and no end of a run.
func (w *World) partSpares(ctx context.Context) {
	left := false
	for _, name := range w.opt.Spare {
		n := w.nodes[name]
		if n.running() == nil {
			continue
		}
		w.awaitLeader(ctx)
		if err := n.term(ctx); err != nil && !errors.Is(err, errNotRunning) && ctx.Err() == nil {
			w.problem("node %s does not leave: %v", name, err)
		}
		left = true
	}
	if !left {
		return
	}
	if err := w.awaitHealthy(ctx, quietMost); err != nil && ctx.Err() == nil {
		w.problem("after the further nodes have left: %v", err)
	}
}
