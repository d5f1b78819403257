package link

import (
	"errors"
	"io"
	"net"
	"time"
)

// conn is one connection through the network, opened by from.
type conn struct {
	n              *Network
	from, to       string
	client, server net.Conn
	dead           bool // under n.mu: it was reset
}

// pieceBytes is what is passed on at once.
const pieceBytes = 32 << 10

// pump passes on what comes from one end, until that ends or the connection does. The end of one
// direction leaves the other open, as TCP has it.
func (c *conn) pump(src, dst net.Conn, w way) {
	buf := make([]byte, pieceBytes)
	for {
		size, err := src.Read(buf)
		if size > 0 && !c.pass(buf[:size], dst, w) {
			c.end()
			return
		}
		switch {
		case err == nil:
		case !c.await(w): // what is lost includes the word of the end
			return
		case errors.Is(err, io.EOF):
			finish(dst)
			return
		default:
			c.end()
			return
		}
	}
}

// end resets the connection.
func (c *conn) end() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.reset()
	c.n.changed.Broadcast()
}

// finish says to an end that nothing more comes.
func finish(dst net.Conn) {
	if tcp, ok := dst.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// pass holds a piece back for as long as the rules want, and writes it; false: the connection is to
// end.
func (c *conn) pass(piece []byte, dst net.Conn, w way) bool {
	if !c.await(w) {
		return false
	}
	r, stalls, resets := c.n.draw(w)
	hold := r.Delay
	if r.BytesPerSecond > 0 {
		hold += time.Duration(len(piece)) * time.Second / time.Duration(r.BytesPerSecond)
	}
	if stalls {
		hold += r.StallFor
	}
	if hold > 0 && (c.n.seam.Sleep(c.n.ctx, hold) != nil || !c.await(w)) {
		return false
	}
	if resets {
		_, _ = dst.Write(piece[:len(piece)/2])
		return false
	}
	_, err := dst.Write(piece)
	return err == nil
}

// await waits out frost; false: the connection has ended meanwhile.
func (c *conn) await(w way) bool {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.hit(w, func(r Rule) bool { return r.Frozen })
	for !c.dead && !c.n.closed && c.n.ruleFor(w).Frozen {
		c.n.changed.Wait()
	}
	return !c.dead && !c.n.closed
}

// draw is the rule for one piece, and what chance does to it.
func (n *Network) draw(w way) (r Rule, stalls, resets bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r = n.ruleFor(w)
	stalls = r.StallPerMille > 0 && n.rand.IntN(1000) < r.StallPerMille
	resets = r.ResetPerMille > 0 && n.rand.IntN(1000) < r.ResetPerMille
	n.hit(w, func(r Rule) bool {
		return r.Delay > 0 || r.BytesPerSecond > 0 || stalls && r.StallPerMille > 0 || resets && r.ResetPerMille > 0
	})
	return r, stalls, resets
}

// reset ends the connection so that both ends see an error and not an end. n.mu is held, but for a
// connection that nobody else knows.
func (c *conn) reset() {
	c.dead = true
	for _, end := range []net.Conn{c.client, c.server} {
		if tcp, ok := end.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	c.close()
}

func (c *conn) close() {
	_ = c.client.Close()
	_ = c.server.Close()
}
