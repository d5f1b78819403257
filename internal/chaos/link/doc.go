// Package link is a network between named places on this machine that can be broken: a TCP proxy in
// front of each place, which knows from which place a connection comes.
//
// A place is a node, a broker, or whoever asks them: any name. What listens there gets an address
// from Listen, which the others use instead of its own. Who connects is found out from the kernel:
// the source port's socket, and which of the processes that Register named has it open. So the
// processes need no setting for it, and no root is needed.
//
//	n := link.New(seam.World(), seed)
//	defer n.Close()
//	addr, err := n.Listen("b", "127.0.0.1:7402") // others reach b at addr
//	n.Register("a", pidOfA) // its connections are a's from now on
//	heal := n.Break("a", "b", link.Rule{Frozen: true}) // what a sends to b is lost
//	heal()
//
// Invariants:
//
//   - A rule is about what flows from one place to another, whichever of them opened the
//     connection; Cut is about the connections between the two, so one direction is enough.
//   - Rules add up: healing one leaves the others.
//   - Bytes come out in the order in which they went in, or the connection ends.
//
// It is for tests and for the chaos run. It imports internal/seam, golang.org/x/sys and the
// standard library.
package link
