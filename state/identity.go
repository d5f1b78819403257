package state

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Identity says whose state a store holds. It is stored when the store is created; every field is
// compared whenever it is opened, and any difference is refused.
type Identity struct {
	KafkaCluster     string `json:"kafka_cluster"`
	App              string `json:"app"`
	AppID            string `json:"app_id"`
	Lane             int    `json:"lane"`
	InputTopicID     string `json:"input_topic_id"`
	ChangelogTopicID string `json:"changelog_topic_id"`
	Generation       int    `json:"generation"`
	Fingerprint      string `json:"fingerprint"`
}

// IdentityError says that a store, or a position record met in the changelog, is not of the app
// that runs now.
type IdentityError struct {
	Field       string // as in the JSON of Identity
	Stored, Now string
	Dir         string   // of the store; empty for a record of the changelog
	Have        Identity // all that is stored
}

func (e *IdentityError) Error() string {
	if e.Dir == "" {
		return fmt.Sprintf("the changelog holds a position record whose %s is %q, and %q runs now: it belongs to another app or run; "+
			"use another app name, or reset the app", e.Field, e.Stored, e.Now)
	}
	return fmt.Sprintf("the state in %s was written with %s %q, and it is %q now; if the new one is right, "+
		"stop the node and remove that directory: this is always safe, the state is built again from the changelog",
		e.Dir, e.Field, e.Stored, e.Now)
}

// fields are all fields of an identity, in the order in which a difference tells most.
func (i Identity) fields() [][2]string {
	return [][2]string{
		{"kafka_cluster", i.KafkaCluster},
		{"app", i.App},
		{"lane", strconv.Itoa(i.Lane)},
		{"generation", strconv.Itoa(i.Generation)},
		{"input_topic_id", i.InputTopicID},
		{"changelog_topic_id", i.ChangelogTopicID},
		{"app_id", i.AppID},
		{"fingerprint", i.Fingerprint},
	}
}

// sameIdentity compares what is stored in dir with what runs now.
func sameIdentity(dir string, stored, now Identity) error {
	have := stored.fields()
	for i, f := range now.fields() {
		if have[i] != f {
			return &IdentityError{Field: f[0], Stored: have[i][1], Now: f[1], Dir: dir, Have: stored}
		}
	}
	return nil
}

// checkRecord refuses a position record of another app, generation or topic.
func (i Identity) checkRecord(r PositionRecord) error {
	have := i
	have.AppID, have.Generation = r.AppID, r.Generation
	have.InputTopicID, have.ChangelogTopicID = r.InputTopicID, r.ChangelogTopicID
	return sameIdentity("", have, i)
}

func encodeIdentity(i Identity) []byte { return encodeJSON(storeIdentity, i) }

func decodeIdentity(b []byte) (i Identity, err error) {
	b, err = body(b, storeIdentity, "identity")
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, fmt.Errorf("identity: %w", err)
	}
	return i, nil
}
