package port

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Config says where to listen. Zero means the default.
type Config struct {
	Seam      seam.Seam // required
	Log       *slog.Logger
	Listen    string // HOST:PORT; port 0 is any free one
	Advertise string // HOST:PORT at which others reach this node; "": as Listen. Port 0: the listener's
	Certs     string // directory with ca.crt, node.crt and node.key; "": none, so loopback only
	Tokens    string // people's token file, which internal/api reads; "": none
	Node      string // this node's name, for the next step in an error

	HandshakeTimeout time.Duration // for a connection to say what it is for (5 s)
	PendingMax       int           // connections that have not said it yet (256)
	PeopleMax        int           // open HTTP connections of people (1,024); without certificates of all
	NodesMax         int           // open connections of nodes, of all kinds together (2,048)
	LookEvery        time.Duration // at the certificate files, at most (1 s)
	RecheckEvery     time.Duration // whether the certificates with which nodes have come are good still (1 s)
}

func (c Config) withDefaults() Config {
	if c.Seam.Now == nil {
		panic("port: Config.Seam is not set")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = 5 * time.Second
	}
	if c.PendingMax == 0 {
		c.PendingMax = 256
	}
	if c.PeopleMax == 0 {
		c.PeopleMax = 1024
	}
	if c.NodesMax == 0 {
		c.NodesMax = 2048
	}
	if c.RecheckEvery == 0 {
		c.RecheckEvery = time.Second
	}
	return c
}

// Check refuses what cannot be meant, before anything is opened: the mistakes of a command line.
func Check(c Config) error {
	host, err := hostOf("--listen", c.Listen, "127.0.0.1:7400")
	if err != nil {
		return err
	}
	if !isLoopback(host) && (c.Certs == "" || c.Tokens == "") {
		return c.needsBoth(host)
	}
	if c.Advertise == "" {
		if isWildcard(host) {
			return fmt.Errorf("--listen %s is every address of this machine: say with --advertise HOST:PORT which one others dial",
				c.Listen)
		}
		return nil
	}
	if err := CheckAdvertise(c.Advertise); err != nil {
		return err
	}
	other, _, _ := net.SplitHostPort(c.Advertise)
	if !isLoopback(other) && (c.Certs == "" || c.Tokens == "") { // something leads from there to here
		return fmt.Errorf("--advertise %s is for other machines, so it needs certificates (--certs) and people's tokens (--tokens): %s",
			c.Advertise, c.howTo(other))
	}
	return nil
}

// CheckAdvertise refuses an address at which no other node could reach this one.
func CheckAdvertise(addr string) error {
	host, err := hostOf("--advertise", addr, advertiseExample)
	if err == nil && isWildcard(host) {
		return fmt.Errorf("--advertise %s is no address that others could dial: say this machine's name or IP address", addr)
	}
	return err
}

const advertiseExample = "node-1.example:7400"

func hostOf(flag, addr, example string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		return "", fmt.Errorf("%s %q is not HOST:PORT, with a port up to 65535: say for example %s", flag, addr, example)
	}
	return host, nil
}

func (c Config) needsBoth(host string) error {
	return fmt.Errorf("--listen %s can be reached from other machines, so it needs certificates (--certs) and people's tokens (--tokens): %s"+
		"; or say --listen 127.0.0.1:PORT, which only this machine reaches", c.Listen, c.howTo(host))
}

// howTo are the commands that make what is missing.
func (c Config) howTo(host string) string {
	name := c.Node
	if name == "" {
		name = "NAME"
	}
	dir, file, more := c.Certs, c.Tokens, ""
	if isWildcard(host) {
		host = "HOST"
		if c.Advertise == "" {
			more = " --advertise HOST:PORT"
		}
	}
	text := "make"
	if dir == "" {
		dir = filepath.Join("certs", name)
		text += fmt.Sprintf(" certificates with `tally certs certs --nodes %s=%s`,", name, host)
	}
	if file == "" {
		file = "tokens.json"
		text += fmt.Sprintf(" a token with `tally token create admin --scope admin --tokens %s`,", file)
	}
	return text + fmt.Sprintf(" and start with --certs %s --tokens %s%s", dir, file, more)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// open opens the listener, and says what to do when it cannot.
func open(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use, perhaps by another tally node: stop it, or say"+
			" --listen 127.0.0.1:0 for any free port", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("--listen %s is no address of this machine: say one that is, or 0.0.0.0:PORT with --advertise", addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("this user may not listen at %s: say a port from 1024", addr)
	case err != nil:
		return nil, fmt.Errorf("listen at %s: %w", addr, err)
	}
	return l, nil
}

// advertised is the address that others dial.
func advertised(c Config, l net.Addr) string {
	addr := c.Advertise
	if addr == "" {
		addr = c.Listen
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic("port: an address that Check let pass: " + addr)
	}
	if port == "0" {
		_, port, _ = net.SplitHostPort(l.String())
	}
	return net.JoinHostPort(host, port)
}
