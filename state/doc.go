// Package state keeps one lane's values in Pebble, whose contents and position move in one batch,
// and holds the codecs of the changelog's records.
//
// The changelog in Kafka is the truth; a Store is a cache of it that knows how far it has read. So
// Pebble's write-ahead log is off, and removing a store is always safe.
//
// Invariants:
//
//   - Values and positions move together: in one batch, or in one ingested table that holds both.
//     Whatever a crash leaves is a consistent prefix of the changelog with its own position. A
//     table is ingested only over a flushed memtable, since an ingested table is durable at once
//     and the memtable below it is not.
//   - A Store is never ahead of Kafka: Publish is called only after a known commit.
//   - A transaction is visible all or none: Publish changes the cache and the positions in one
//     critical section, and every read takes the same lock or a snapshot.
//   - The filter has every key that is in Pebble, once it is ready: a group that it lacked would be
//     counted from nothing. Keys are added before Pebble gets them.
//   - Committed values that are not in Pebble yet (dirty ones) are never evicted from the cache.
//   - Nothing is unbounded: the cache, the delta in memory, chunks of a load and subscriptions have
//     limits in Options and LoadOptions.
//
// The codecs of the repartition topic, between two stages, are here too: partials, sources.
//
// Formats: every key and value begins with the format byte, and a build reads all formats up to its
// own. A change of what is written that an older build would misread takes the next number, in the
// position records and in the store's identity at the latest: both are read before anything is
// written, and an older build then refuses the changelog or the store (ErrNewer) and touches
// neither. A new field of a record's JSON needs no new number where an older build may pass over it
// and lose it, as it does with fields that it does not know. testdata/formats holds what the first
// build of each format has left, and every build is tested on all of it: a new number gets a
// directory of its own with `testdata/formats/make vN`, and the older ones stay as they are.
//
// Groups and values are opaque bytes here; package processor/spec gives them their meaning.
//
// It may import the standard library, Pebble, xxhash, internal/seam and internal/step.
package state
