package port

import (
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/seam"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		says []string // none: it is allowed
	}{
		{Config{Listen: "127.0.0.1:7400"}, nil},
		{Config{Listen: "localhost:0"}, nil},
		{Config{Listen: "[::1]:7400"}, nil},
		{Config{Listen: "127.9.9.9:1", Advertise: "localhost:1"}, nil},
		{Config{Listen: "127.0.0.1:7400", Certs: "c"}, nil},
		{Config{Listen: "10.0.0.1:7400", Certs: "c", Tokens: "t"}, nil},
		{Config{Listen: "0.0.0.0:7400", Advertise: "a.example:7400", Certs: "c", Tokens: "t"}, nil},
		{Config{}, []string{`--listen "" is not HOST:PORT`, "127.0.0.1:7400"}},
		{Config{Listen: "7400"}, []string{"is not HOST:PORT"}},
		{Config{Listen: "127.0.0.1:http"}, []string{"is not HOST:PORT"}},
		{Config{Listen: "127.0.0.1:70000"}, []string{"is not HOST:PORT"}},
		{Config{Listen: "10.0.0.1:7400", Node: "a"}, []string{"`tally certs certs --nodes a=10.0.0.1`",
			"`tally token create admin --scope admin --tokens tokens.json`", "--certs certs/a --tokens tokens.json", "127.0.0.1:PORT"}},
		{Config{Listen: "10.0.0.1:7400", Certs: "c"}, []string{"`tally token create admin", "--certs c --tokens tokens.json"}},
		{Config{Listen: "10.0.0.1:7400", Tokens: "t"}, []string{"`tally certs certs --nodes NAME=10.0.0.1`", "--tokens t"}},
		{Config{Listen: ":7400"}, []string{"--nodes NAME=HOST", "--tokens tokens.json --advertise HOST:PORT"}},
		{Config{Listen: "[::]:7400", Certs: "c", Tokens: "t"}, []string{"say with --advertise HOST:PORT"}},
		{Config{Listen: "0.0.0.0:7400", Certs: "c", Tokens: "t"}, []string{"say with --advertise HOST:PORT"}},
		{Config{Listen: "0.0.0.0:7400", Advertise: "0.0.0.0:7400", Certs: "c", Tokens: "t"}, []string{"no address that others could dial"}},
		{Config{Listen: "0.0.0.0:7400", Advertise: "a.example", Certs: "c", Tokens: "t"}, []string{`--advertise "a.example" is not HOST:PORT`}},
		{Config{Listen: "127.0.0.1:7400", Advertise: "a.example:7400"}, []string{"(--certs)", "(--tokens)", "--nodes NAME=a.example", "`tally token create"}},
		{Config{Listen: "127.0.0.1:7400", Advertise: "10.0.0.1:7400", Certs: "c"}, []string{"(--certs)", "(--tokens)", "`tally token create", "--certs c --tokens tokens.json"}},
		{Config{Listen: "127.0.0.1:7400", Advertise: "10.0.0.1:7400", Tokens: "t"}, []string{"(--certs)", "(--tokens)", "`tally certs certs --nodes NAME=10.0.0.1`"}},
		{Config{Listen: "127.0.0.1:7400", Advertise: "10.0.0.1:7400", Certs: "c", Tokens: "t"}, nil},
	} {
		err := Check(c.cfg)
		if (err == nil) != (c.says == nil) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
		for _, s := range c.says {
			if err == nil || !strings.Contains(err.Error(), s) {
				t.Errorf("%+v: %v, not %q", c.cfg, err, s)
			}
		}
		c.cfg.Seam = seam.World()
		if _, err := Listen(c.cfg); c.says != nil && err == nil {
			t.Errorf("listening with %+v", c.cfg)
		}
	}
}

func TestListenErrors(t *testing.T) {
	dir := authority(t, "a")
	p := listen(t, Config{})
	for _, c := range []struct {
		cfg Config
		say string
	}{
		{Config{Listen: p.Addr().String()}, "is in use, perhaps by another tally node"},
		{Config{Listen: "127.0.0.1:0", Certs: dir}, "node.crt is missing: --certs wants a directory"},
		{Config{Listen: "192.0.2.1:0", Certs: dir + "/a", Tokens: "t", Advertise: "a.example:0"}, "is no address of this machine"},
		{Config{Listen: "127.0.0.1:0", Certs: dir + "/a", Tokens: "t", Advertise: "10.0.0.9:7400", Node: "a"}, "`tally certs DIR --nodes a=10.0.0.9 --renew`"},
	} {
		c.cfg.Seam = seam.World()
		if got, err := Listen(c.cfg); err == nil || !strings.Contains(err.Error(), c.say) {
			if err == nil {
				got.Close()
			}
			t.Errorf("%+v: %v, not %q", c.cfg, err, c.say)
		}
	}
}

func TestAdvertise(t *testing.T) {
	dir := authority(t, "a")
	p := listen(t, Config{Certs: dir + "/a", Tokens: "t", Advertise: "a.example:0"})
	_, port, _ := strings.Cut(p.Addr().String(), ":")
	if p.Advertise() != "a.example:"+port || p.URL(p.Advertise()) != "https://a.example:"+port {
		t.Errorf("%s", p.Advertise())
	}
	if !p.Covers("a.example") || p.Covers("b.example") || !strings.Contains(p.Reach(), "with TLS, as a.example:"+port) {
		t.Errorf("%s", p.Reach())
	}
	plain := listen(t, Config{})
	if plain.Advertise() != plain.Addr().String() || plain.Covers("a.example") || !strings.Contains(plain.Reach(), "for this machine only") {
		t.Errorf("%s %s", plain.Advertise(), plain.Reach())
	}
}
