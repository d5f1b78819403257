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
//   - Committed values that are not in Pebble yet (dirty ones) are never evicted from the cache.
//   - Nothing is unbounded: the cache, the delta in memory, chunks of a load and subscriptions have
//     limits in Options and LoadOptions.
//
// Groups and values are opaque bytes here; package processor/spec gives them their meaning.
//
// It may import the standard library, Pebble, xxhash, internal/seam and internal/step.
package state
