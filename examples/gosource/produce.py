"""Send each line of the Go standard library's source to Kafka, keyed by its package.

Every .go file below GOROOT/src counts, testdata too. The key is the file's folder ("net/http").
Usage: produce.py BOOTSTRAP TOPIC [GOROOT/src]     (pip install confluent-kafka)
"""
import os
import sys

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic = sys.argv[1:3]
root = sys.argv[3] if len(sys.argv) > 3 else "/usr/local/go/src"

# The longest line (the time zone data) has 1.4 MB: more than a topic takes by default.
longest = 4 << 20
admin = AdminClient({"bootstrap.servers": bootstrap})
new = NewTopic(topic, num_partitions=8, config={"max.message.bytes": str(longest)})
admin.create_topics([new])[topic].result()
print("created", topic, file=sys.stderr, flush=True)

failed = 0


def delivered(error, message):
    global failed
    if error:
        failed += 1
        print("not delivered:", error, file=sys.stderr)


producer = Producer({
    "bootstrap.servers": bootstrap,
    "enable.idempotence": True,
    "message.max.bytes": longest,
    "linger.ms": 20,
})
sent = 0
for folder, _, names in os.walk(root):
    package = os.path.relpath(folder, root)
    for name in names:
        if not name.endswith(".go"):
            continue
        with open(os.path.join(folder, name), "rb") as lines:
            for line in lines:
                while True:
                    try:
                        producer.produce(topic, line.rstrip(b"\n"), package, callback=delivered)
                        break
                    except BufferError:  # the queue is full: wait for deliveries
                        producer.poll(0.1)
                sent += 1
        producer.poll(0)
producer.flush()
print(f"sent {sent} lines", file=sys.stderr)
sys.exit(1 if failed else 0)
