"""Print the counts as they change, and the last count of each word at the end.

    pip install kafka-python
    python consume.py [BOOTSTRAP] [TOPIC]

Ends when nothing has come for five seconds (or the environment's SECONDS_IDLE).
"""
import json
import os
import sys

from kafka import KafkaConsumer

bootstrap = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("KAFKA", "127.0.0.1:9092")
topic = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("TOPIC", "output_event")
seconds_idle = float(os.environ.get("SECONDS_IDLE", "5"))

consumer = KafkaConsumer(
    topic,
    bootstrap_servers=bootstrap,
    auto_offset_reset="earliest",
    isolation_level="read_committed",  # only what a committed transaction wrote
    consumer_timeout_ms=int(seconds_idle * 1000),
)
latest, newest = {}, 0
for record in consumer:
    # After a `tally reset` all is counted again, in the next generation: what an earlier one wrote is over.
    generation = int(dict(record.headers)["tally.generation"])
    if generation < newest:
        continue
    if generation > newest:
        latest, newest = {}, generation
    user = "(no key)" if record.key is None else record.key.decode()
    value = json.loads(record.value)
    word, count = value["item"], value["count"]
    print(f"{user}: {word} = {count}")
    # The output keeps its counter's partition, so (partition, user, word) names one counter.
    latest[record.partition, user, word] = count

totals = {}
for (_, user, word), count in latest.items():
    totals[user, word] = totals.get((user, word), 0) + count
print("--- totals")
for (user, word), count in sorted(totals.items()):
    print(f"{user} {word} {count}")
