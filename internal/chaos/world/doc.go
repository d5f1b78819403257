// Package world runs tally under faults: three real brokers and some nodes of the real binary, each
// behind a network that can be broken, a load whose right answer is known, readers that ask all the
// time, and a schedule of faults that is carried out. It writes down what happened (see
// internal/chaos/history), and judges nothing but what only it can see: a node that ended by
// itself, or that did not end when it was told to.
//
// Invariants:
//
//   - What is random in the load and in the choice of a fault's victim follows from the seed.
//   - Every fault is over before the world waits for the quiet, with all that it has begun: the
//     nodes and brokers run, and the network is sound. What joined meanwhile leaves behind the
//     quiet.
//   - A fault counts as come at a step when a node was held there, or where none was, at the last
//     one that the node has passed; and during a change of role when the node or the cluster says
//     that it is under way.
//   - No process outlives the one that started it.
//
// It imports no code of the product but what asks a node (internal/api), the hash that places a key
// (internal/kafka), and the names of the steps and the memory that it shares with a node of a
// failpoint build (internal/step); and the clock (internal/seam).
package world
