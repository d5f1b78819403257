package node

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tally-kafka/tally/internal/certs"
	"github.com/tally-kafka/tally/internal/seam"
)

// A node says once, when it starts, who reaches its port.
func TestSaysWhoReachesIt(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	dir := t.TempDir()
	_, err := certs.Make(dir, []certs.Node{{Name: "node-a", Hosts: []string{"127.0.0.1"}}}, certs.MakeOptions{Seam: seam.World()})
	p.must(err)
	for _, c := range []struct {
		certs string
		says  []string
	}{
		{"", []string{"this machine only", "--certs"}},
		{filepath.Join(dir, "node-a"), []string{"with TLS", "the certificate is good until "}},
	} {
		n := p.launch(func(cfg *Config) { cfg.Certs = c.certs })
		until(t, func() error {
			if said := n.log.count(append(c.says, "level=INFO", "listening at "+n.addr())...); said != 1 || n.log.count("listening at") != 1 {
				return fmt.Errorf("it is said %d times that it is %q:\n%s", said, c.says, n.log)
			}
			return nil
		})
	}
}
