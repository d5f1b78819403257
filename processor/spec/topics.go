package spec

// ChangelogTopic is the topic that holds an app's state: compacted, and the truth of it.
func ChangelogTopic(app string) string { return app + ".changelog" }

// DeadTopic is the topic of an app's dead letters; it has one with `on_error: dead` alone.
func DeadTopic(app string) string { return app + ".dead" }

// RepartitionTopic is the topic between the two stages of an app; one of one stage has none.
func RepartitionTopic(app string) string { return app + ".repartition" }

// OwnTopics are the topics that tally owns of an app, of which it may not have each. They are
// deleted in this order, the changelog last: where that is broken off, the state is still known.
func OwnTopics(app string) []string {
	return []string{DeadTopic(app), RepartitionTopic(app), ChangelogTopic(app)}
}
