package testkafka

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	s := time.Now()
	c := Start(t, Options{})
	t.Log(time.Since(s))
	c.Kill(1)
	s = time.Now()
	if err := c.Restart(1); err != nil {
		t.Fatal(err)
	}
	t.Log("restart", time.Since(s))
	s = time.Now()
	c = Start(t, Options{Nodes: 3})
	t.Log("three", time.Since(s))
	c.Kill(1)
	s = time.Now()
	if err := c.Restart(1); err != nil {
		t.Fatal(err)
	}
	t.Log("restart", time.Since(s))
}
