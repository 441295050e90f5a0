import CBPFObjects
import Datasets
import Trace
import Tracing

/// What it costs to make a line of JSON out of a record of the ring, without what takes it there and away.
public enum DecodeBench {
    /// - Returns: the best of several rounds, for each record, and the bytes of its line.
    public static func run(records: Int = 500_000, rounds: Int = 5) -> (each: Duration, bytes: Int) {
        var fixed = kairos_record()
        fixed.kind = KAIROS_RECORD_CHANGE.rawValue
        fixed.op = KAIROS_OP_WRITE.rawValue
        fixed.slot = KAIROS_NO_SLOT
        fixed.syscall = 1
        fixed.time_ns = 1_234_567_890_123
        fixed.pid = 123_456
        fixed.tid = 123_456
        fixed.ppid = 123_000
        fixed.uid = 1000
        fixed.inode = 16_245_358
        fixed.generation = 1_904_338_048
        fixed.device = 8 << 20 | 1
        fixed.mount = 1
        fixed.result = 512
        fixed.bytes = 512
        fixed.offset = 4096
        withUnsafeMutableBytes(of: &fixed.comm) { $0.copyBytes(from: "postgres".utf8) }
        let path = Array("16384.1\05\0base\0data\0postgresql\0lib\0".utf8)
        fixed.path_len = UInt16(path.count)
        // Of several processes and file systems, each after the other: what was looked up for one is not the next one's.
        let samples = (0..<16 as Range<UInt32>).map { number in
            fixed.pid += number
            fixed.inode += UInt64(number)
            fixed.device = 8 << 20 | number % 4
            fixed.mount = number % 4
            return withUnsafeBytes(of: fixed) { Array($0) } + path
        }
        var places = TracePlaces(
            MountTable(
                entries: (0..<4).map { number in
                    MountEntry(
                        mountID: number, parentID: number, device: DeviceNumber(kernel: 8 << 20 | UInt32(number)),
                        root: [UInt8(ascii: "/")], mountPoint: Array("/var".utf8), fsType: "ext4", source: [])
                }))
        var json = JSONLines()
        var buffer = ByteBuffer()
        var best = Duration.seconds(1_000_000)
        for _ in 0..<rounds {
            let start = ContinuousClock.now
            for number in 0..<records {
                buffer.clear()
                let sample = samples[number % 16]
                guard let decoded = Record(sample.span.bytes) else { preconditionFailure("the record is malformed") }
                json.append(TraceEvent(decoded, &places, clock: 1_700_000_000_000_000_000), to: &buffer)
            }
            best = min(best, ContinuousClock.now - start)
        }
        return (best / records, buffer.count)
    }
}
