import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Makes one transaction after another with the Java client and tells of each in a line of JSON, as the verb
 * "transactions" of tests/franz_go/program does, until its standard input ends or there were --count of them.
 */
public class Transactions {
    private static volatile boolean stopping = false;

    private final Map<String, String> flags;
    private KafkaProducer<byte[], byte[]> producer;

    private Transactions(Map<String, String> flags) {
        this.flags = flags;
    }

    public static void main(String[] words) throws Exception {
        Map<String, String> flags = new HashMap<>();
        for (String word : words) {
            String[] parts = word.substring(2).split("=", 2);
            flags.put(parts[0], parts[1]);
        }
        Thread listener = new Thread(Transactions::untilToldToStop);
        listener.setDaemon(true);
        listener.start();
        new Transactions(flags).run();
    }

    private static void untilToldToStop() {
        try {
            while (System.in.read() >= 0) {
                // What it says does not matter.
            }
        } catch (IOException closed) {
            // The same as its end.
        }
        stopping = true;
    }

    private int number(String flag, int otherwise) {
        return Integer.parseInt(flags.getOrDefault(flag, String.valueOf(otherwise)));
    }

    private void run() {
        int count = number("count", 0);
        for (int made = 0; !stopping && (count == 0 || made < count); made++) {
            tell(made);
        }
        close();
    }

    private void open() {
        if (producer != null) {
            return;
        }
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", flags.get("bootstrap"));
        settings.put("client.id", flags.getOrDefault("client-id", "java"));
        settings.put("transactional.id", flags.get("id"));
        settings.put("linger.ms", 0);
        settings.put("reconnect.backoff.ms", 20);
        settings.put("reconnect.backoff.max.ms", 200);
        settings.put("retry.backoff.ms", 20);
        settings.put("request.timeout.ms", number("request-timeout-ms", 30_000));
        settings.put("delivery.timeout.ms", 120_000);
        settings.put("max.block.ms", 60_000);
        producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        producer.initTransactions();
    }

    private void close() {
        if (producer != null) {
            producer.close(Duration.ofSeconds(5));
            producer = null;
        }
    }

    private void tell(int made) {
        int partitions = number("partitions", 1);
        int abortEvery = number("abort-every", 0);
        List<String> values = new ArrayList<>();
        for (int place = 0; place < number("records", 3); place++) {
            values.add(flags.getOrDefault("client-id", "java") + " " + made + " " + place);
        }
        String outcome = "aborted";
        String error = null;
        try {
            open();
            producer.beginTransaction();
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int place = 0; place < values.size(); place++) {
                byte[] value = values.get(place).getBytes(StandardCharsets.UTF_8);
                sent.add(producer.send(new ProducerRecord<>(flags.get("topic"), (made + place) % partitions, null, value)));
            }
            for (Future<RecordMetadata> each : sent) {
                each.get();
            }
            if (abortEvery > 0 && made % abortEvery == abortEvery - 1) {
                producer.abortTransaction();
            } else {
                outcome = "unknown";
                commit();
                outcome = "committed";
            }
        } catch (Exception told) {
            error = String.valueOf(told);
            goOn();
        }
        StringBuilder line = new StringBuilder("{\"number\": " + made + ", \"outcome\": \"" + outcome + "\", \"values\": [");
        for (int place = 0; place < values.size(); place++) {
            line.append(place == 0 ? "" : ", ").append('"').append(values.get(place)).append('"');
        }
        String words = error == null ? "null" : '"' + error.replace("\\", "/").replace("\"", "'").replace("\n", " ") + '"';
        System.out.println(line + "], \"error\": " + words + "}");
        System.out.flush();
    }

    /** A commit that was not answered in time may be asked for again. */
    private void commit() {
        while (true) {
            try {
                producer.commitTransaction();
                return;
            } catch (TimeoutException late) {
                if (stopping) {
                    throw late;
                }
            }
        }
    }

    /** Abort; where that is not to be had, start anew. */
    private void goOn() {
        if (producer == null) {
            return;
        }
        try {
            producer.abortTransaction();
        } catch (KafkaException fatal) {
            close();
        }
    }
}
