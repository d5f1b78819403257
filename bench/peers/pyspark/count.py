"""Counts events by key, or by key and word, with Spark Structured Streaming.

count.py FILE reads a JSON object: brokers, in, out, words, checkpoint, trigger (an object of one
argument of DataStreamWriter.trigger), source and sink (further options of Kafka's source and sink),
spark (settings of the session). It prints "running" when the query has started, and with a SIGTERM
stops the query and ends.

The state is exact; the sink to Kafka is at-least-once, which is all that Spark offers.
"""

import json
import signal
import sys
import threading

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, explode, split, struct, to_json


def main(job):
    builder = SparkSession.builder.appName(job["out"])
    for name, value in job["spark"].items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")

    events = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", job["brokers"])
        .option("subscribe", job["in"])
        .option("startingOffsets", "earliest")
        .options(**job["source"])
        .load()
        .selectExpr("CAST(key AS STRING) AS key", "CAST(value AS STRING) AS value")
    )
    if job["words"]:
        words = events.select("key", explode(split("value", " ")).alias("item"))
        counts = words.groupBy("key", "item").count().select("key", to_json(struct("item", "count")).alias("value"))
    else:
        counts = events.groupBy("key").count().select("key", to_json(struct(col("count"))).alias("value"))

    query = (
        counts.writeStream.outputMode("update")
        .format("kafka")
        .option("kafka.bootstrap.servers", job["brokers"])
        .option("topic", job["out"])
        .option("checkpointLocation", job["checkpoint"])
        .options(**job["sink"])
        .trigger(**job["trigger"])
        .start()
    )
    print("running", flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    # Waited for in short steps: a handler runs between two of them.
    while not ended.is_set() and not query.awaitTermination(0.1):
        pass
    query.stop()
    spark.stop()


with open(sys.argv[1]) as file:
    main(json.load(file))
