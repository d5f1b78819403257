package testkafka

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are of this range: below the kernel's usual ephemeral ports, so that no client's connection
// takes one while whoever listens at it is away.
const firstPort, lastPort = 12000, 32000

// FreePort finds a port that nobody listens on and nobody has claimed. It can be taken before it is
// used, so callers that fail to bind try again with another.
func FreePort() (int, error) {
	port, release, err := claim()
	if err != nil {
		return 0, err
	}
	release()
	return port, nil
}

// Claim finds a loopback address as FreePort does and keeps it: until release no other Claim or
// FreePort of this machine gives it out, whether somebody listens there or not. The claim is a UDP
// socket of the same number, so that it ends with the process.
func Claim() (addr string, release func(), err error) {
	port, release, err := claim()
	return loopback(port), release, err
}

func claim() (port int, release func(), err error) {
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		claimed, err := net.ListenPacket("udp", loopback(port))
		if err != nil {
			continue
		}
		release := func() { _ = claimed.Close() }
		l, err := net.Listen("tcp", loopback(port))
		if err == nil {
			err = l.Close()
		}
		if err == nil {
			return port, release, nil
		}
		release()
	}
	return 0, nil, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
