// Package testkafka gives tests a real Apache Kafka, and a proxy that cuts chosen answers of it.
//
// Start runs Kafka's own JVM from the jars that Maven Central serves; there is no container and no
// download page. The jars lie in .cache/kafka-<version> beside go.mod and are fetched once, by
// whichever test process comes first.
//
// Invariants:
//   - No JVM outlives the process that started it, however that process dies.
//   - A cluster that Start returns answers metadata requests on every node and knows its
//     transaction and group coordinators: an open port is not yet a ready broker.
//   - Ports lie below the kernel's ephemeral range, so that a client which redials a killed broker
//     cannot be given that broker's own port and connect to itself.
//
// Only tests, the program in cmd/testkafka and the one in bench/cmd/peers may import it. It imports
// franz-go and the standard library.
package testkafka
