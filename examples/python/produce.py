"""Send a few events to Kafka: a user's name is the key, what the user wrote is the value.

    pip install kafka-python
    python produce.py [BOOTSTRAP] [TOPIC]

BOOTSTRAP is host:port of a broker (or the environment's KAFKA; default 127.0.0.1:9092).
"""
import os
import sys

from kafka import KafkaProducer

bootstrap = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("KAFKA", "127.0.0.1:9092")
topic = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("TOPIC", "input_event")

events = [
    ("user-1", "Spark and Kafka"),
    ("user-2", "Kafka counts, Spark counts"),
    ("user-1", "Kafka again"),
    ("user-3", "Привет, Kafka"),
]

producer = KafkaProducer(bootstrap_servers=bootstrap)
sent = [producer.send(topic, key=user.encode(), value=text.encode()) for user, text in events]
for event in sent:
    event.get(timeout=60)  # raises what Kafka has refused it with: a topic that is not there, say
print(f"sent {len(events)} events to {topic}")
