package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// App is what matters here of an app's spec.
type App struct {
	Name        string
	Input       string
	Output      string // "": none
	KeyEvent    bool   // output records have the event's key
	DeadLetters bool   // what cannot be read goes to a topic
	Lanes       int    // 0: as many as tally makes

	// TwoStages says whether an app that starts now gets a second stage; nil: it does not.
	TwoStages func(inputPartitions int) (bool, error)
	// Repartitions is the number of partitions between the stages; 0: the input's.
	Repartitions int
}

// Changelog is the topic that holds the state.
func (a App) Changelog() string { return spec.ChangelogTopic(a.Name) }

// Dead is the topic of dead letters.
func (a App) Dead() string { return spec.DeadTopic(a.Name) }

// Repartition is the topic between two stages.
func (a App) Repartition() string { return spec.RepartitionTopic(a.Name) }

// Options say what to look at.
type Options struct {
	Kafka       kafka.Config
	KafkaConfig string      // the file that Kafka was loaded from, for the commands in the report; "" for none
	Apps        []App       // none: only the cluster and this machine
	Node        *api.Status // nil: no node was asked
	DataDir     string

	Patience time.Duration // bound of one question to Kafka; default 5 s
}

// Examine looks at everything. Its error says that there was nothing to look at: no broker answers.
func Examine(ctx context.Context, opt Options) (Report, error) {
	if opt.Patience == 0 {
		opt.Patience = 5 * time.Second
	}
	admin, err := kafka.NewAdmin(opt.Kafka)
	if err != nil {
		return Report{}, err
	}
	defer admin.Close()
	l := looker{opt: opt, admin: admin}
	if _, err := ask(ctx, l, admin.ClusterID); err != nil {
		return Report{}, fmt.Errorf("no broker answers: %w", err)
	}
	f := l.look(ctx)
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	return newReport(judge(f)), nil
}

// judge runs all checks over the facts.
func judge(f *facts) []Check {
	checks := []Check{
		checkBrokers(f), checkVersion(f), checkTransactionVersion(f), checkBackoff(f), checkOffsetsRetention(f),
		checkClock(f),
	}
	if f.node != nil {
		checks = append(checks, checkNode(f))
	}
	checks = append(checks, checkDataDir(f), checkStoredState(f), checkDisk(f), checkFiles(f))
	for _, a := range f.apps {
		checks = append(checks, judgeApp(f, a)...)
	}
	if len(f.apps) == 0 {
		checks = append(checks, Check{Name: "apps", Result: Skipped,
			Found: "no app was named, so no topics, rights or transactions were looked at: say --spec FILE, or --app of a running node"})
	}
	return checks
}

func judgeApp(f *facts, a *appFacts) []Check {
	var checks []Check
	checks = append(checks, checkInput(f, a)...)
	checks = append(checks, checkOutput(f, a)...)
	checks = append(checks, checkChangelog(f, a)...)
	checks = append(checks, checkDead(f, a)...)
	checks = append(checks, checkRepartition(f, a)...)
	checks = append(checks, checkGroup(f, a), checkPositions(f, a))
	checks = append(checks, checkSecondPositions(f, a)...)
	checks = append(checks, checkRetention(f, a), checkTransactions(f, a))
	for _, t := range a.topics() {
		checks = append(checks, checkTopicRights(f, t)...)
	}
	checks = append(checks, checkGroupRight(f, a), checkTransactionRight(f, a))
	checks = append(checks, checkTrimRight(f, a)...)
	if f.node != nil {
		checks = append(checks, checkLanes(f, a))
	}
	return checks
}
