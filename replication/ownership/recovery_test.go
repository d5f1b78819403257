package ownership

import "testing"

func TestRecovery(t *testing.T) {
	s := New()
	if again := s.Recover("a").Recover("b"); again.Recovered != (Recovery{2, "b"}) || again.Format != recoveredFormat {
		t.Errorf("recovered twice: %+v, format %d", again.Recovered, again.Format)
	}
	if s.Recovered != (Recovery{}) || s.Format != 1 {
		t.Error("the state of before has changed")
	}
	restored, err := Restore(s.Recover("a").Snapshot())
	if err != nil || restored.Recovered != (Recovery{1, "a"}) {
		t.Errorf("a snapshot has %+v: %v", restored, err)
	}
	order := []Recovery{{}, {1, "a"}, {1, "b"}, {2, "a"}, {12, "0f"}}
	for i, r := range order {
		if back, err := ParseRecovery(r.String()); err != nil || back != r {
			t.Errorf("%+v is %q, which is read as %+v: %v", r, r, back, err)
		}
		for j, other := range order {
			if got := r.Compare(other); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%v and %v: %d", r, other, got)
			}
		}
	}
	for _, bad := range []string{"x", "1", "-", "1-", "-a", "0-a", "-1-a", "a-1"} {
		if r, err := ParseRecovery(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, r)
		}
	}
}
