package spec

// Limits of a spec. They bound what a Program can cost per event.
const (
	MaxSpecBytes  = 32 << 10 // of a spec file: the time of a YAML parser can grow with its square
	MaxAppName    = 100      // bytes of an app's name
	MaxTopicName  = 249      // Kafka's own limit
	MaxName       = 100      // bytes of an aggregate's or a part's name
	MaxParts      = 8        // parts of a group
	MaxAggregates = 8
	MaxConditions = 32
	MaxInValues   = 1000 // values in one `in`
	MaxPathSteps  = 32   // names and indexes of one PATH
	MaxPathBytes  = 1024
	MaxPathIndex  = 1<<20 - 1
	MaxLanes      = 1024

	MaxRepartitions = 1024 // partitions of the repartition topic
)

// Limits of an event. They are constants, and no configuration changes them: an event must count,
// or not, by itself and the spec alone, or a replay on a differently configured node would count
// anew. An event is never divided among transactions, so they also bound what a lane holds beyond
// its memory: about 1 KB for each distinct group of the event, and several times the groups' bytes.
// Its size, 1 MiB by default, does not bound these: a long key is in the group of each of its
// words.
const (
	MaxGroupBytes  = 32 << 10 // of one encoded group
	MaxItems       = 1 << 20  // items of one event
	MaxEventBytes  = 16 << 20 // of all encoded groups of one event together
	MaxJSONDepth   = 512      // nested arrays and objects
	MaxDigits      = 18       // significant digits of a number that is read
	MaxExponent    = 18       // of that number without trailing zeros, either sign
	scratchKeepMax = 4 << 20  // a Scratch drops a larger buffer before its next use
)
