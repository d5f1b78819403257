package state

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tally-kafka/tally/internal/seam"
)

// Three stores with much to compact share one place: each begins when it has waited longest; one
// that has fallen behind is not held up; and one that closes holds up nobody.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := NewPlaces(1)
		var dbs []*demand
		var all []*compactions
		for range 3 {
			d, c := &demand{allowed: 1}, newCompactions(seam.World(), places)
			c.Register(1, d)
			dbs, all = append(dbs, d), append(all, c)
		}
		expect := func(what string, want ...int) {
			t.Helper()
			synctest.Wait()
			var begun []int
			for _, d := range dbs {
				b, _, _ := d.counts()
				begun = append(begun, b)
			}
			if !slices.Equal(begun, want) {
				t.Errorf("%s: %v have begun, not %v", what, begun, want)
			}
		}
		for i, d := range dbs {
			d.want(all[i])
			d.want(all[i])
		}
		expect("at first", 1, 0, 0)
		<-time.After(10 * grantEvery)
		expect("while it runs", 1, 0, 0)
		dbs[0].end(0)
		expect("the first has ended", 1, 1, 0)
		dbs[1].end(0)
		expect("the second has", 1, 1, 1)
		dbs[0].allow(2)
		<-time.After(2 * grantEvery)
		expect("one has fallen behind", 2, 1, 1)
		dbs[0].end(1)
		expect("and is no more", 2, 1, 1)
		all[1].Unregister()
		dbs[2].end(0)
		expect("one is closed", 2, 1, 2)
		dbs[2].end(1)
		if places.inUse() != 0 {
			t.Errorf("%d places are left taken", places.inUse())
		}
		all[0].Unregister()
		all[2].Unregister()
	})
}

func (p *Places) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// However stores want, end and rest: never are more places taken than there are, and nobody waits
// for ever.
func TestPlacesKept(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			if err := placesKept(r); err != nil {
				r.Fatal(err)
			}
		})
	})
}

func placesKept(r *rapid.T) error {
	most := rapid.IntRange(1, 2).Draw(r, "places")
	places := NewPlaces(most)
	dbs, all, ended := make([]*demand, 3), make([]*compactions, 3), make([]int, 3)
	for i := range dbs {
		dbs[i], all[i] = &demand{allowed: 1}, newCompactions(seam.World(), places)
		all[i].Register(1, dbs[i])
		defer all[i].Unregister()
	}
	end := func(i int) { // the oldest that runs, if any does
		if begun, _, _ := dbs[i].counts(); ended[i] < begun {
			ended[i]++
			dbs[i].end(ended[i] - 1)
		}
	}
	for range rapid.IntRange(1, 40).Draw(r, "steps") {
		i := rapid.IntRange(0, 2).Draw(r, "store")
		switch rapid.SampledFrom([]string{"want", "want", "end", "end", "allow", "rest", "wait"}).Draw(r, "step") {
		case "want":
			dbs[i].want(all[i])
		case "end":
			end(i)
		case "allow":
			dbs[i].allow(rapid.IntRange(1, 2).Draw(r, "allowed"))
		case "rest":
			all[i].rest(time.Duration(rapid.IntRange(0, 3).Draw(r, "rest")) * grantEvery)
		case "wait":
			<-time.After(grantEvery)
		}
		synctest.Wait()
		running := 0
		for k, d := range dbs {
			begun, _, _ := d.counts()
			running += begun - ended[k]
		}
		if running > 2*most || running != places.inUse() {
			return fmt.Errorf("%d run, %d places of %d are taken", running, places.inUse(), most)
		}
	}
	for range 200 {
		<-time.After(2 * grantEvery)
		for i := range dbs {
			end(i)
		}
	}
	for i, d := range dbs {
		if _, waiting, _ := d.counts(); waiting > 0 {
			return fmt.Errorf("store %d: %d wait for ever", i, waiting)
		}
	}
	return nil
}
