// Package broker is the embedded broker: a Kafka in one process of its own, for trying tally out.
//
// It imports franz-go's kfake, internal/kafka, internal/seam and the standard library.
package broker
