package spec

// A pathTrie holds all the paths that a spec asks for, so that one pass over an event finds them.
// Slots are numbered in depth-first order: those below a node are one range.
type pathTrie struct {
	node  *trieNode // nil when there are no paths
	slots int
}

type trieNode struct {
	slot      int // -1: no path ends here
	low, high int // the slots at and below this node
	names     []nameEdge
	indexes   []indexEdge
}

type nameEdge struct {
	name string
	node *trieNode
}

type indexEdge struct {
	index int
	node  *trieNode
}

func newPathTrie(paths []Path) *pathTrie {
	t := &pathTrie{}
	for _, p := range paths {
		if p.IsZero() {
			continue
		}
		if t.node == nil {
			t.node = &trieNode{slot: -1}
		}
		n := t.node
		for _, s := range p.steps {
			n = n.grow(s)
		}
		n.slot = 0
	}
	if t.node != nil {
		t.slots = t.node.number(0)
	}
	return t
}

func (t *pathTrie) root() *trieNode { return t.node }

// slot is where a scan leaves the value of p, one of the trie's paths.
func (t *pathTrie) slot(p Path) int {
	if p.IsZero() {
		return -1
	}
	n := t.node
	for _, s := range p.steps {
		n = n.child(s)
	}
	return n.slot
}

// grow is the child of a step, made when it is new.
func (n *trieNode) grow(s pathStep) *trieNode {
	if child := n.child(s); child != nil {
		return child
	}
	child := &trieNode{slot: -1}
	if s.index >= 0 {
		n.indexes = append(n.indexes, indexEdge{s.index, child})
	} else {
		n.names = append(n.names, nameEdge{s.name, child})
	}
	return child
}

func (n *trieNode) child(s pathStep) *trieNode {
	if s.index >= 0 {
		return n.element(s.index)
	}
	for _, e := range n.names {
		if e.name == s.name {
			return e.node
		}
	}
	return nil
}

func (n *trieNode) element(index int) *trieNode {
	for _, e := range n.indexes {
		if e.index == index {
			return e.node
		}
	}
	return nil
}

// number gives slots to the paths at and below n, from low on, and returns the first one left.
func (n *trieNode) number(low int) int {
	n.low = low
	if n.slot >= 0 {
		n.slot = low
		low++
	}
	for _, e := range n.names {
		low = e.node.number(low)
	}
	for _, e := range n.indexes {
		low = e.node.number(low)
	}
	n.high = low
	return low
}
