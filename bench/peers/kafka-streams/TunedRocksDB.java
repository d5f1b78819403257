import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.CompactionStyle;
import org.rocksdb.CompressionType;
import org.rocksdb.Filter;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;

/** RocksDB with one block cache for all stores, larger memtables, filters and level compaction. */
public final class TunedRocksDB implements RocksDBConfigSetter {
    static {
        RocksDB.loadLibrary(); // Kafka Streams has not yet done it when it reads its settings
    }

    private static final Cache CACHE = new LRUCache(256L << 20);
    private static final Filter FILTER = new BloomFilter(10, false);

    @Override
    public void setConfig(String store, Options options, Map<String, Object> configs) {
        BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
        table.setBlockCache(CACHE);
        table.setFilterPolicy(FILTER);
        table.setBlockSize(16 << 10);
        table.setCacheIndexAndFilterBlocks(true);
        table.setPinL0FilterAndIndexBlocksInCache(true);
        options.setTableFormatConfig(table);
        options.setWriteBufferSize(64L << 20);
        options.setMaxWriteBufferNumber(3);
        options.setCompactionStyle(CompactionStyle.LEVEL);
        options.setCompressionType(CompressionType.LZ4_COMPRESSION);
        options.setIncreaseParallelism(Runtime.getRuntime().availableProcessors());
    }

    @Override
    public void close(String store, Options options) {
        // The cache and the filter belong to all stores and live as long as the process.
    }
}
