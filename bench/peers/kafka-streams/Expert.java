import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.internals.InternalProcessorContext;
import org.apache.kafka.streams.processor.internals.ProcessorNode;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.internals.WrappedStateStore;

/**
 * The count with the Processor API: bytes throughout, words counted in the event's own partition
 * without a repartition topic, and one output a changed group and commit, by the flush of the record
 * cache. The DSL's own count has that last thing from the same internal call.
 */
final class Expert {
    static Topology topology(String from, String to, boolean words) {
        var store = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("counts"), Serdes.Bytes(), Serdes.Long())
            .withCachingEnabled()
            .withLoggingEnabled(Map.of());
        return new Topology()
            .addSource("events", new ByteArrayDeserializer(), new ByteArrayDeserializer(), from)
            .addProcessor("count", () -> new Counter(words), "events")
            .addStateStore(store, "count")
            .addSink("counts-out", to, new ByteArraySerializer(), new ByteArraySerializer(), "count");
    }

    private static final class Counter implements Processor<byte[], byte[], byte[], byte[]> {
        private static final byte[] COUNT = "{\"count\":".getBytes(StandardCharsets.US_ASCII);
        private static final byte[] ITEM = "{\"item\":\"".getBytes(StandardCharsets.US_ASCII);
        private static final byte[] ITEM_COUNT = "\",\"count\":".getBytes(StandardCharsets.US_ASCII);

        private final boolean words;
        private KeyValueStore<Bytes, Long> counts;

        Counter(boolean words) {
            this.words = words;
        }

        @Override
        @SuppressWarnings("unchecked")
        public void init(ProcessorContext<byte[], byte[]> context) {
            counts = context.getStateStore("counts");
            InternalProcessorContext<byte[], byte[]> inner = (InternalProcessorContext<byte[], byte[]>) context;
            ProcessorNode<?, ?, ?, ?> node = inner.currentNode();
            ((WrappedStateStore<?, Bytes, Long>) (Object) counts).setFlushListener(change -> {
                ProcessorNode<?, ?, ?, ?> before = inner.currentNode();
                inner.setCurrentNode(node);
                try {
                    forward(context, change.key().get(), change.value().newValue, change.timestamp());
                } finally {
                    inner.setCurrentNode(before);
                }
            }, false);
        }

        @Override
        public void process(Record<byte[], byte[]> event) {
            if (!words) {
                increment(Bytes.wrap(event.key()));
                return;
            }
            byte[] text = event.value();
            for (int from = 0, at = 0; at <= text.length; at++) {
                if (at == text.length || text[at] == ' ') {
                    increment(Bytes.wrap(join(event.key(), text, from, at)));
                    from = at + 1;
                }
            }
        }

        private void increment(Bytes group) {
            Long before = counts.get(group);
            counts.put(group, before == null ? 1L : before + 1);
        }

        private static byte[] join(byte[] key, byte[] text, int from, int to) {
            byte[] group = Arrays.copyOf(key, key.length + 1 + to - from);
            System.arraycopy(text, from, group, key.length + 1, to - from);
            return group;
        }

        private void forward(ProcessorContext<byte[], byte[]> context, byte[] group, long count, long timestamp) {
            byte[] digits = Long.toString(count).getBytes(StandardCharsets.US_ASCII);
            if (!words) {
                context.forward(new Record<>(group, close(COUNT, digits), timestamp));
                return;
            }
            int cut = 0;
            while (group[cut] != 0) {
                cut++;
            }
            byte[] word = Arrays.copyOfRange(group, cut + 1, group.length);
            context.forward(new Record<>(Arrays.copyOf(group, cut), close(ITEM, word, ITEM_COUNT, digits), timestamp));
        }

        private static byte[] close(byte[]... parts) {
            int size = 1;
            for (byte[] part : parts) {
                size += part.length;
            }
            byte[] all = new byte[size];
            int at = 0;
            for (byte[] part : parts) {
                System.arraycopy(part, 0, all, at, part.length);
                at += part.length;
            }
            all[at] = '}';
            return all;
        }
    }
}
