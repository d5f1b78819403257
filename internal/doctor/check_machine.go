package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func checkDataDir(f *facts) Check {
	m := f.machine
	c := Check{Name: "data dir", Result: OK}
	switch {
	case !m.there:
		c.Result = Skipped
		c.Found = fmt.Sprintf("there is no directory %s here: say --data-dir DIR, on the machine of the node", m.dir)
	case m.writable != nil:
		c.Result = Error
		c.Found = fmt.Sprintf("nothing can be written to %s: %v", m.dir, m.writable)
		c.Why = "a node keeps its state there, and does not start without"
		c.Mend = "sudo chown -R \"$(id -un)\" " + m.dir
	case m.identity != nil:
		c.Result = Error
		c.Found = fmt.Sprintf("%s/node.json is damaged: %v", m.dir, m.identity)
		c.Why = "it says which node this is; a node does not start with a damaged one"
		c.Mend = "rm " + m.dir + "/node.json    # then this is a new node; no count is lost"
	case m.pid != 0:
		c.Found = fmt.Sprintf("%s, used by the node with pid %d", m.dir, m.pid)
	default:
		c.Found = m.dir + ", no node runs in it"
	}
	return c
}

// checkStoredState compares Kafka's cluster id with what the data dir tells of it. What is inside a
// store only the node can read: it compares all ids whenever it opens one.
func checkStoredState(f *facts) Check {
	m := f.machine
	c := Check{Name: "stored state", Result: Skipped}
	here := f.node != nil && m.pid != 0 && slices.ContainsFunc(f.node.Nodes, nodeWithPID(m.pid))
	switch {
	case !m.there:
		c.Found = "not checked: there is no data dir"
	case m.embedded != "" && m.embedded != f.clusterID.v:
		c.Result = Warning
		c.Found = fmt.Sprintf("%s has the data of an embedded broker, cluster %s; this Kafka is %s", m.dir, m.embedded, f.clusterID.v)
		c.Why = "state that was counted on one Kafka is refused on another"
		c.Mend = "give each Kafka a --data-dir of its own"
	case len(m.stores) == 0:
		c.Result = OK
		c.Found = "none yet: a node builds it from the changelog"
	case here && f.node.Kafka.ClusterID == f.clusterID.v:
		c.Result = OK
		c.Found = fmt.Sprintf("%s, opened by the running node for this Kafka cluster", storesText(m.stores))
	default:
		c.Found = fmt.Sprintf("%s: not checked; a node compares the ids in it with Kafka's when it opens it, and refuses another's", storesText(m.stores))
	}
	return c
}

func storesText(stores map[string]int) string {
	var texts []string
	for _, app := range slices.Sorted(maps.Keys(stores)) {
		texts = append(texts, fmt.Sprintf("%s of %s", plural(stores[app], "lane"), app))
	}
	return strings.Join(texts, ", ")
}

// When the disk of the data dir is nearly full, and when it is too full to go on.
const (
	diskWarnPercent  = 10
	diskErrorPercent = 2
	diskErrorBytes   = 1 << 30
)

func checkDisk(f *facts) Check {
	m := f.machine
	c := Check{Name: "free disk", Result: OK}
	switch {
	case !m.there:
		c.Result, c.Found = Skipped, "not checked: there is no data dir"
		return c
	case m.free.err != nil:
		return notKnown(f, c.Name, m.free.err, "", "")
	case m.size.v == 0:
		c.Result, c.Found = Skipped, "not checked: the file system does not tell its size"
		return c
	}
	percent := float64(m.free.v) / float64(m.size.v) * 100
	c.Found = fmt.Sprintf("%s of %s (%.0f%%) at %s", gib(m.free.v), gib(m.size.v), percent, m.dir)
	switch {
	case percent < diskErrorPercent || m.free.v < diskErrorBytes:
		c.Result = Error
	case percent < diskWarnPercent:
		c.Result = Warning
	default:
		return c
	}
	c.Why = "a lane stops when its state cannot be written"
	c.Mend = "free some, or give the node a --data-dir on a larger disk: state there is built again from the changelog"
	return c
}

func gib(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// filesLeast is enough for the files of many lanes and the connections of their clients.
const filesLeast = 4096

func checkFiles(f *facts) Check {
	m := f.machine
	c := Check{Name: "open files", Result: OK}
	if m.files.err != nil {
		return notKnown(f, c.Name, m.files.err, "", "")
	}
	whose := "a node started from here"
	if m.pid != 0 {
		whose = fmt.Sprintf("the node with pid %d", m.pid)
	}
	c.Found = fmt.Sprintf("%s may have %d", whose, m.files.v)
	if m.files.v > 1<<40 {
		c.Found = whose + " may have any number"
	}
	if m.files.v < filesLeast {
		c.Result = Warning
		c.Why = "each lane has files of its state and some sockets; one that cannot open another stops"
		c.Mend = "ulimit -n 65536 before `tally run`, or LimitNOFILE=65536 in its systemd unit"
	}
	return c
}
