import java.io.FileInputStream;
import java.util.Properties;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;

/**
 * Counts events by key, or by key and word, with Kafka Streams: {@code java Count FORM FILE}, where
 * FORM is dsl or expert and FILE holds Kafka Streams' own settings, beside {@code job.in},
 * {@code job.out}, {@code job.words} and {@code job.byword}. It prints "running" when it has its partitions, and ends
 * with SIGTERM.
 */
public final class Count {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        try (FileInputStream in = new FileInputStream(args[1])) {
            settings.load(in);
        }
        String from = (String) settings.remove("job.in");
        String to = (String) settings.remove("job.out");
        boolean words = Boolean.parseBoolean((String) settings.remove("job.words"));
        boolean byWord = Boolean.parseBoolean((String) settings.remove("job.byword"));
        Topology topology = args[0].equals("expert") ? Expert.topology(from, to, words) : Dsl.topology(from, to, words, byWord);
        KafkaStreams streams = new KafkaStreams(topology, settings);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.out.println("running");
            } else if (now == KafkaStreams.State.ERROR) {
                System.err.println("Kafka Streams has ended with an error");
                Runtime.getRuntime().halt(1);
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
