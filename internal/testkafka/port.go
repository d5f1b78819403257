package testkafka

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
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

// FreeAddr finds a loopback address as FreePort does and keeps it for the test: until that ends, no
// other FreeAddr or FreePort of this machine gives it out, whether somebody listens there or not.
func FreeAddr(t testing.TB) string {
	t.Helper()
	port, release, err := claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return loopback(port)
}

// claim keeps a port by a UDP socket of the same number, so that the claim ends with the process.
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
