import java.util.Arrays;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The count as its documentation teaches it. Words are counted by a group that is not the event's
 * key, so that the DSL sends each word through a repartition topic.
 */
final class Dsl {
    static Topology topology(String from, String to, boolean words, boolean byWord) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> events = builder.stream(from, Consumed.with(Serdes.String(), Serdes.String()));
        KStream<String, String> counts = byWord ? countByWord(events) : words ? countWords(events) : countKeys(events);
        counts.to(to, Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }

    private static KStream<String, String> countKeys(KStream<String, String> events) {
        return events
            .groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream()
            .mapValues(count -> "{\"count\":" + count + "}");
    }

    private static KStream<String, String> countByWord(KStream<String, String> events) {
        return events
            .flatMapValues(text -> Arrays.asList(text.split(" ")))
            .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream()
            .map((word, count) -> KeyValue.pair("[\"" + word + "\"]",
                "{\"item\":\"" + word + "\",\"count\":" + count + "}"));
    }

    private static KStream<String, String> countWords(KStream<String, String> events) {
        return events
            .flatMapValues(text -> Arrays.asList(text.split(" ")))
            .groupBy((key, word) -> key + '\0' + word, Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream()
            .map((group, count) -> {
                int cut = group.indexOf('\0');
                return KeyValue.pair(group.substring(0, cut),
                    "{\"item\":\"" + group.substring(cut + 1) + "\",\"count\":" + count + "}");
            });
    }
}
