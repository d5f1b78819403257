#!/usr/bin/env bash
# The main job: the words of the Go standard library's source, counted by package through a real
# Kafka while the node is killed again and again, and compared with recount.py.
#
#   run.sh [--by-word] [KILLS]    KILLS is how often the node gets a SIGKILL; 10 unless said
#
# With --by-word the words are counted over all packages. Those of one word lie in all partitions, so
# that takes a second stage, and the kills hit both.
#
# It runs a broker of its own (from Maven's jars) unless BROKERS is set. TALLY is the binary.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
root=$(cd ../.. && pwd)
by_word=() group="[key, item]" key=event
if [ "${1:-}" = --by-word ]; then
  by_word=(--by-word) group="[item]" key=group
  shift
fi
kills=${1:-10}
tally=${TALLY:-$root/bin/tally}
python=${PYTHON:-$root/.cache/python/bin/python}
source=$(go env GOROOT)/src
listen=127.0.0.1:7499
server=http://$listen
name=gosource-$$
export PYTHONIOENCODING=utf-8

work=$(mktemp -d)
node="" kafka="" producer="" recount=""
cleanup() {
  if [ $? -ne 0 ]; then
    echo "--- the node's log ends in"
    tail -20 "$work/node.log" || true
  fi
  for pid in $node $producer $recount $kafka; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

start_node() {
  "$tally" run --spec "$work/spec.yaml" --brokers "$brokers" --data-dir "$work/data" --listen "$listen" \
    >>"$work/node.log" 2>&1 &
  node=$!
}

status() { # a Python expression over the app's status s
  "$tally" status --json --server "$server" 2>/dev/null |
    "$python" -c "import json, sys; s = json.load(sys.stdin)['apps'][0]; print($1)" 2>/dev/null
}

kill_node() {
  local pid=$node
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null || true
  start_node
}

if [ ! -x "$python" ]; then "$root/scripts/python-env"; fi
brokers=${BROKERS:-}
if [ -z "$brokers" ]; then
  (cd "$root" && go build -o "$work/testkafka" ./internal/testkafka/cmd/testkafka)
  cd "$root" # the jars lie beside go.mod
  "$work/testkafka" --port 19192 >"$work/kafka.log" 2>&1 &
  kafka=$!
  cd "$here"
  until grep -q '^ready' "$work/kafka.log"; do
    kill -0 "$kafka" 2>/dev/null || { cat "$work/kafka.log"; exit 1; }
    sleep 0.2
  done
  brokers=127.0.0.1:19192
fi

cat >"$work/spec.yaml" <<SPEC
app: $name
input: {topic: $name-lines, start: earliest, format: text}
split: words
group: $group
aggregates: {count: count}
output: {topic: $name-words, emit: latest, key: $key}
SPEC

say "sending $source to $name-lines on $brokers"
"$python" produce.py "$brokers" "$name-lines" "$source" >"$work/produce.log" 2>&1 &
producer=$!
until grep -q '^created' "$work/produce.log"; do
  kill -0 "$producer" 2>/dev/null || { cat "$work/produce.log"; exit 1; }
  sleep 0.1
done

# Every other kill waits until the node counts on; the rest hit it while it starts as well.
start_node
before=0
for i in $(seq "$kills"); do
  if [ $((i % 2)) = 1 ]; then
    until counted=$(status "s['processed']") && [ "$counted" -gt "$before" ]; do
      kill -0 "$node" || exit 1
      kill -0 "$producer" 2>/dev/null || break # all is sent, and may be counted
      sleep 0.2
    done
    before=${counted:-$before}
  fi
  sleep "$((RANDOM % 3)).$((RANDOM % 10))"
  say "kill -9 $node ($i of $kills), counted so far: $(status "s['processed']" || echo "unknown")"
  kill_node
done

wait "$producer" || { cat "$work/produce.log"; exit 1; }
producer=""
sent=$(sed -n 's/^sent \([0-9]*\) lines$/\1/p' "$work/produce.log")
say "all $sent lines are sent"
"$python" recount.py "${by_word[@]}" "$source" >"$work/expected.tsv" &
recount=$!
until [ "$(status "s['processed'] + s['dead'] + s['skipped'], s['lag'], s['repartition_lag']")" = "$sent 0 0" ]; do
  kill -0 "$node" || exit 1
  if [ "$SECONDS" -gt 900 ]; then
    say "not done after 900 s"
    "$tally" status --server "$server"
    exit 1
  fi
  sleep 0.5
done
say "counted"
"$tally" scan --json --server "$server" >"$work/scan.jsonl"
"$tally" consume --topic "$name-words" --from-start --timeout 5s --json --brokers "$brokers" >"$work/outputs.jsonl"
say "asked, and read all outputs"
wait "$recount"
recount=""
say "recounted"
"$tally" audit --server "$server"
say "audited"
"$python" compare.py "$work/expected.tsv" "$work/scan.jsonl" "$work/outputs.jsonl" "$sent"
