package port

import "time"

// recheck ends the connections of nodes whose certificates are good no more: out of date, or of an
// authority that is gone from ca.crt. A handshake sees that too, but what is open lasts as long as
// who has it likes. It also has the files looked at where nobody else asks for them.
func (p *Port) recheck() {
	for p.cfg.Seam.Sleep(p.closing, p.cfg.Seam.InStep(p.cfg.RecheckEvery)) == nil {
		if until := p.certs.Until(); p.cfg.Seam.Now().After(until) {
			p.say("this node's own certificate is out of date, and other nodes refuse it: make another one with `tally certs DIR --nodes NAME=HOST --renew`",
				"until", until.UTC().Format(time.RFC3339))
		}
		for _, c := range p.ofNodes() {
			if p.certs.Trusts(c.peer) {
				continue
			}
			_ = c.Close()
			p.say("ending a connection, whose certificate is out of date or of an authority that is gone",
				"from", c.RemoteAddr().String(), "certificate", c.peer[0].Subject.CommonName)
		}
	}
}

// ofNodes are the open connections with a certificate.
func (p *Port) ofNodes() (all []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if c.peer != nil {
			all = append(all, c)
		}
	}
	return all
}
