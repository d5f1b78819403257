"""produce.py again, with Confluent's client. It hashes keys to partitions differently (CRC32).

    pip install confluent-kafka
    python produce_confluent.py [BOOTSTRAP] [TOPIC]

Send with one kind of client where you can: one key from both kinds lands in two partitions, each
with a counter of its own. tally adds them up when asked, and says in its status that it happened.
"""
import os
import sys

from confluent_kafka import Producer

bootstrap = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("KAFKA", "127.0.0.1:9092")
topic = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("TOPIC", "input_event")

events = [
    ("user-1", "Spark and Kafka"),
    ("user-2", "Kafka counts, Spark counts"),
    ("user-1", "Kafka again"),
    ("user-3", "Привет, Kafka"),
]

refused = []


def delivered(error, _):
    if error is not None:
        refused.append(error)


producer = Producer({"bootstrap.servers": bootstrap})
for user, text in events:
    producer.produce(topic, key=user, value=text, on_delivery=delivered)
left = producer.flush(60)
if refused or left:
    sys.exit(f"{len(refused)} of {len(events)} events were refused, {left} not delivered: {refused[:1]}")
print(f"sent {len(events)} events to {topic}")
