# tally. `make` or `make help` says what there is.
GO          ?= go
BIN         := bin/tally
# Flags for every `go test` of `make test`, such as TESTFLAGS="-count=1 -v".
TESTFLAGS   ?=
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# How long `make fuzz` gives each fuzz target.
FUZZTIME    ?= 1m
# Flags for `make bench`, such as BENCHFLAGS="-scale 5" for five times the events.
BENCHFLAGS  ?=

export CGO_ENABLED = 0
# Tests mostly wait, for timeouts and for Kafka: more of them at a time than there are cores. With
# -race they do not.
AT_ONCE     := -parallel 4
# What takes longest. go starts the tests of packages in the order in which they are named, and once:
# a long one that came last would run alone, on one core.
LONG        := ./internal/node ./state ./internal/audit ./internal/api
# Those of several nodes, of a Kafka of three brokers, and of clients that slow down whatever runs beside
# them: two minutes and a half.
CLUSTER     := ^(TestFleetProof|TestFleetCutProof|TestBadClients|TestThreeNodes)$$
# Those whose work is done by real processes, which are built without -race.
PROCESSES   := ^(TestCrashProof|TestDemo|TestNamedKafka)$$
# Of tests: a profile-guided build compiles every package once more, and tests need no speed.
NOPGO       := -pgo=off

.DEFAULT_GOAL := help
.PHONY: help build demo test test-cluster check race vet staticcheck fuzz bench bench-peers bench-cluster pgo mutants proof sim chaos soak press gosource clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build ./bin/tally, one static binary
	$(GO) build -trimpath -buildvcs=auto -o $(BIN) ./cmd/tally

demo: build ## Build and show it all: three nodes, kill -9 in the middle, a takeover, a restart, an audit
	./$(BIN) demo

test: ## Run the tests (those on a real Kafka where a JDK and Maven are there)
	$(GO) test $(NOPGO) $(AT_ONCE) -skip '$(CLUSTER)' -timeout 10m $(TESTFLAGS) \
	  $(LONG) ./internal/broker ./internal/demo ./internal/kafka ./internal/chaos ./...
	@command -v java >/dev/null && { command -v mvn >/dev/null || ls -d .cache/kafka-*/jars >/dev/null 2>&1; } || \
	  echo "left out: the tests on a real Apache Kafka, for want of a JDK and Maven"

test-cluster: ## The tests that `make test` leaves out: nodes killed, cut off and rolled on a real broker; bad clients; three brokers
	$(GO) test $(NOPGO) -p 1 -run '$(CLUSTER)' -timeout 10m $(TESTFLAGS) ./internal/chaos ./internal/testkafka

check: ## Formatting, vet, staticcheck, the project's own rules, and the short tests with -race
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	  if [ -n "$$unformatted" ]; then echo "not as gofmt has it: $$unformatted"; exit 1; fi
	$(GO) test ./internal/lint
	@$(MAKE) --no-print-directory -k -j 3 race vet staticcheck

# The parts of check that run beside each other, each to its end whatever the others say. What reads the
# source gives way to the tests, which go by the clock.
race:
	CGO_ENABLED=1 $(GO) test $(NOPGO) -race -short -timeout 10m $(LONG) ./internal/kafka ./...

vet:
	nice $(GO) vet $(NOPGO) ./...
	nice $(GO) vet $(NOPGO) -tags failpoint ./cmd/tally

staticcheck:
	nice $(GO) run $(STATICCHECK) ./...

fuzz: ## Every fuzz target for a minute (FUZZTIME=1m), one after the other; finds go to testdata/fuzz
	@for dir in $$(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -n 1 dirname | sort -u); do \
	  targets=$$($(GO) test -list '^Fuzz' "./$$dir") || exit 1; \
	  for target in $$(echo "$$targets" | grep '^Fuzz'); do \
	    echo "== $$dir $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "./$$dir" || exit 1; \
	  done; \
	done

# COUNT=6 gives benchstat what it needs to compare two commits, and takes six times as long.
# With CI=1 it fails where there is no JDK or Maven for a Kafka; else it would measure nothing, and say so to nobody.
bench: ## Measure: the parts, then tally and its limit on the same Kafka, in Go's benchmark format (<= 5 min)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 200ms -count $(or $(COUNT),1) -timeout 60m ./processor/... ./state ./replication/... ./internal/api ./internal/keysort
	CI=1 $(GO) test -pgo=$(CURDIR)/cmd/tally/default.pgo -run '^$$' -bench . -benchtime 1x -count $(or $(COUNT),1) -timeout 60m ./bench $(BENCHFLAGS)

# Chosen by WORK=a,c (or all), PEERS=kafka-streams,limit, SCALE=0.1, REPS=3, BUDGET=28m; with PEERS or
# SCALE it writes .cache/peers/performance.md.
bench-peers: ## Measure beside Kafka Streams, PySpark and the limit; writes docs/performance.md (<= 30 min)
	$(GO) run -pgo=$(CURDIR)/cmd/tally/default.pgo ./bench/cmd/peers

# TRIES=20, PARTS=gaps,reads, FAULTS="owner killed,move", PEERS=tally, GROUPS=5000000, RATE=1000,
# PAGE=docs/cluster-performance.md (where the measured parts replace what is there).
bench-cluster: ## Measure a cluster: faults, beside Kafka Streams with a standby, standbys, reads (about 90 min)
	$(GO) run ./bench/cmd/cluster

pgo: ## Profile the benchmarks' work anew, for the profile that every build of tally is guided by
	@mkdir -p .cache/pgo && rm -f .cache/pgo/*.prof
	GOFLAGS=-tags=profile TALLY_PROFILE=$(CURDIR)/.cache/pgo \
	  $(GO) test -run '^$$' -bench '/tally' -benchtime 1x -timeout 10m ./bench $(BENCHFLAGS)
	$(GO) tool pprof -proto .cache/pgo/*.prof > cmd/tally/default.pgo

gosource: build ## The main job: the words of Go's own source, by package and by word; kills, a recount in Python
	./examples/gosource/run.sh
	./examples/gosource/run.sh --by-word

# MUTANTFLAGS="-only a,b", "-checks chaos", "-all" for every check and not the first that catches a mutant.
mutants: ## Wrong variants of the protocol, each of which a general check must catch (about 45 min)
	$(GO) run ./internal/mutants --seeds 3 $(MUTANTFLAGS)

# SEED=7 repeats one seed, SEEDS=20 runs so many, SEED=7 SEEDS=20 those from the seventh on. A seed mostly
# waits for its nodes, so eight run beside each other.
sim: ## Nodes in one process, faults at every kind of request to Kafka, seed by seed (100 in <= 4 min)
	@mkdir -p .cache
	$(GO) test $(NOPGO) -c -o .cache/sim.test ./internal/node
	cd internal/node && GOGC=300 SIM_SEED=$(or $(SEED),1) SIM_SEEDS=$(or $(SEEDS),$(if $(SEED),1,100)) \
	  ../../.cache/sim.test -test.run '^TestSim$$' -test.parallel 8 -test.failfast -test.timeout 30m

# SEED=7 draws the same load and schedule again, with the same FOR (and -rate, -keys, -even and -press).
# The steps at which the faults come are dealt anew while it runs, by what was hit so far:
# SCHEDULE=FILE, with the schedule.txt of a run's folder, repeats the run as it was. CHAOSFLAGS="-keep"
# leaves that folder in .cache/chaos, where that of a run that failed is. Behind a failure ever shorter
# schedules are run, to find the shortest that fails in the same way: for SHRINK=5m, or three times FOR
# but 10 to 30 minutes; SHRINK=0: none.
chaos: ## Faults by a seed on a cluster and three real brokers, everything checked: SEED=7 FOR=10m SHRINK=5m
	$(GO) run $(NOPGO) ./internal/chaos/cmd/chaos -for $(or $(FOR),10m) $(if $(SEED),-seed $(SEED)) \
	  $(if $(SCHEDULE),-schedule $(SCHEDULE)) $(if $(SHRINK),-shrink $(SHRINK)) $(CHAOSFLAGS)

# For an hour or longer it is green only with 1,000 faults, 50 M events, 1 M groups and nine of ten
# cells: FOR=1h needs RATE=7100.
soak: ## The same for two hours, with 50 M events and a million groups: SEED=7 FOR=2h RATE=3600 SHRINK=1h
	$(GO) run $(NOPGO) ./internal/chaos/cmd/chaos -for $(or $(FOR),2h) $(if $(SEED),-seed $(SEED)) \
	  -rate $(or $(RATE),3600) -keys 1000000 -even $(if $(SHRINK),-shrink $(SHRINK)) $(CHAOSFLAGS)

press: ## At three quarters of the highest rate of this machine, faults every 10 s: memory, goroutines, files: SEED=7 FOR=20m
	$(GO) run $(NOPGO) ./internal/chaos/cmd/chaos -for $(or $(FOR),20m) $(if $(SEED),-seed $(SEED)) \
	  -keys 20000 -press -shrink 0 $(CHAOSFLAGS)

# Then with -race what make check leaves out of its race run.
proof: gosource mutants sim ## The long proofs: the main job, the mutants, the simulation, all tests at their longest, and with -race
	TALLY_PROOF=1 $(GO) test $(NOPGO) $(AT_ONCE) -count=1 -timeout 90m ./...
	CGO_ENABLED=1 $(GO) test $(NOPGO) -race -count=1 -timeout 120m -skip '$(CLUSTER)|$(PROCESSES)' ./...

clean: ## Remove what was built and fetched
	rm -rf bin .cache
