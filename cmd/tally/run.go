package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/node"
)

type runOptions struct {
	specs        []string
	brokers      []string
	kafkaConfig  string
	dataDir      string
	listen       string
	advertise    string
	join         []string
	node         string
	zone         string
	standbys     int
	standbysSaid bool
	certs        string
	tokens       string
	memory       byteSize
	commitMax    time.Duration
	createTopics int
	onGap        string
	takeover     bool
	logLevel     string
	logFormat    string
}

func newCmdRun(t *tool) *cobra.Command {
	opt := runOptions{memory: 512_000_000}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node: count what arrives, and answer questions",
		Long: `Run a node until interrupted: count what arrives as the specs say, and answer questions about it.

Without --spec the apps of the cluster run on. Without --join the node is a cluster of one, which
others can join later by naming it. Without --brokers, and without
brokers in --kafka-config or TALLY_KAFKA_BOOTSTRAP_SERVERS, an embedded broker is started in the data
dir, for trying out; its address is printed and stays the same. After an interruption or
kill -9, start it again in the same way: it goes on exactly where it was.

Exits 5 when another cluster's node commits for the app while this one looks, for up to 3 s. One of
which nothing is seen is taken for gone, and its lanes are fenced.`,
		Example: `  tally run --spec wordcount.yaml
  tally run --spec wordcount.yaml --brokers kafka-1:9092,kafka-2:9092 --kafka-config client.properties
  tally run --spec a.yaml --spec b.yaml --data-dir /var/lib/tally --memory 2GB
  tally run --brokers kafka-1:9092 --node a --listen 127.0.0.1:7401 --data-dir a \
            --join 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403   # and b and c likewise`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.standbysSaid = cmd.Flags().Changed("standbys")
			if err := saidEmpty(cmd); err != nil {
				return err
			}
			return runRun(cmd.Context(), t, opt)
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&opt.specs, "spec", nil, "spec `FILE` of an app to run; may be repeated")
	fl.StringSliceVar(&opt.brokers, "brokers", nil, "`HOST:PORT,...` of Kafka (default: those in --kafka-config, else an embedded broker)")
	fl.StringVar(&opt.kafkaConfig, "kafka-config", "", "Java client.properties `FILE` with brokers and security settings")
	fl.StringVar(&opt.dataDir, "data-dir", "./tally-data", "`DIR` for state and the embedded broker")
	fl.StringVar(&opt.listen, "listen", "127.0.0.1:7400", "`HOST:PORT` for people and nodes; beyond this machine only with --certs and --tokens")
	fl.StringVar(&opt.advertise, "advertise", "", "`HOST:PORT` at which others reach this node (default: as --listen)")
	fl.StringSliceVar(&opt.join, "join", nil, "`HOST:PORT,...` of the nodes that form the cluster, or of any of one that there is")
	fl.StringVar(&opt.node, "node", "", "`NAME` of this node, unique in the cluster (default: the host's name)")
	fl.StringVar(&opt.zone, "zone", "", "`ZONE` of this node: a lane's standbys are kept in another one than its owner")
	fl.IntVar(&opt.standbys, "standbys", api.StandbysDefault, "`N` warm copies of each lane beside the owner's, for apps of --spec that are new")
	fl.StringVar(&opt.certs, "certs", "", "`DIR` with ca.crt, node.crt and node.key (see tally certs)")
	fl.StringVar(&opt.tokens, "tokens", "", "`FILE` of the tokens that people need (see tally token)")
	fl.Var(&opt.memory, "memory", "`SIZE` for caches and fetched data together, such as 512MB; at least 16MB")
	fl.DurationVar(&opt.commitMax, "commit-max", 250*time.Millisecond, "longest `DURATION` of a transaction while events wait; twice that at most where Kafka commits slowly")
	fl.IntVar(&opt.createTopics, "create-topics", 0, "create a missing input topic with `N` partitions")
	fl.StringVar(&opt.onGap, "on-gap", "stop", "`stop|skip` where the input has lost events")
	fl.BoolVar(&opt.takeover, "takeover", false, "take the lanes even if another node seems to run the app")
	addLogFlags(cmd, &opt.logLevel, &opt.logFormat)
	return cmd
}

func runRun(ctx context.Context, t *tool, opt runOptions) error {
	log, err := t.newLogger(opt.logLevel, opt.logFormat)
	if err != nil {
		return err
	}
	name, err := nodeName(opt.node, os.Hostname)
	if err != nil {
		return err
	}
	if err := opt.check(t); err != nil {
		return err
	}
	specs, err := readSpecs(opt.specs)
	if err != nil {
		return err
	}
	limitMemory(t.getenv, int64(opt.memory))
	cfg := node.Config{
		Specs: specs, Brokers: opt.brokers, KafkaConfig: opt.kafkaConfig, Env: t.getenv,
		DataDir: opt.dataDir, Listen: opt.listen, Advertise: opt.advertise, Join: opt.join, Name: name, Zone: opt.zone,
		Standbys: opt.standbys, StandbysSaid: opt.standbysSaid, Certs: opt.certs, Tokens: opt.tokens, Memory: int64(opt.memory),
		CreateTopics: opt.createTopics, Takeover: opt.takeover, SkipGaps: opt.onGap == "skip",
		Version: version(), Seam: t.seam, Log: log, Out: t.out, TTY: t.outTTY,
	}
	cfg.Pace.IntervalMax = opt.commitMax
	if t.failpoints != nil {
		t.failpoints(&cfg)
	}
	return node.Run(ctx, cfg)
}

// limitSlack is what may lie about beside the caches and batches: with the program itself, the
// process stays within --memory and 150 MB. The room above what is in use decides how often the
// collector works: where commits read from the disk, each block is garbage later.
const limitSlack = 130 << 20

// limitMemory makes Go's collector work harder before the process grows far beyond --memory. Caches
// and batches are bounded by their own accounts; this bounds what the collector leaves lying about.
func limitMemory(getenv func(string) string, memory int64) {
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory + limitSlack)
	}
}
