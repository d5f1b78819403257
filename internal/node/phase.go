package node

// phase notes at the debug level what the node has just come through on its way from its start, or
// a grant, to its first output, and how many milliseconds after its start: what the log tells of a
// start that was slow.
func (n *Node) phase(what string) {
	n.cfg.Log.Debug("phase", "done", what, "ms", n.cfg.Seam.Since(n.started).Milliseconds())
}

// phase is the node's, of one lane.
func (l *lane) phase(what string) {
	l.log().Debug("phase", "done", what, "ms", l.seam().Since(l.app.node.started).Milliseconds())
}
