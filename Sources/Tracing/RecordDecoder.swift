import CBPFObjects

/// Decodes the records of a trace, where what one has in common with the one before it is left out: `struct kairos_repeat`.
public struct RecordDecoder: Sendable {
    /// By CPU, the record that was last told in full, and its serial number.
    private var last: [UInt32: (serial: UInt32, record: Record)] = [:]
    /// Repeats of a record that never came. The programs send none, so it stays 0; if not, it counts as lost.
    public private(set) var orphans: UInt64 = 0

    public init() {}

    /// Nil for what is no record, or a repeat of none.
    public mutating func decode(_ bytes: RawSpan) -> Record? {
        guard bytes.byteCount >= MemoryLayout<kairos_repeat>.size else { return nil }
        if bytes.unsafeLoadUnaligned(as: UInt32.self) == KAIROS_RECORD_REPEAT.rawValue {
            return repeated(bytes.unsafeLoadUnaligned(as: kairos_repeat.self))
        }
        guard let record = Record(bytes) else { return nil }
        let raw = bytes.unsafeLoadUnaligned(as: kairos_record.self)
        if raw.serial != 0 { last[raw.cpu] = (raw.serial, record) }
        return record
    }

    private mutating func repeated(_ raw: kairos_repeat) -> Record? {
        guard let (serial, full) = last[raw.cpu], serial == raw.serial else {
            orphans += 1
            return nil
        }
        var record = full
        record.again(raw)
        return record
    }
}

extension Record {
    /// Who and where stay.
    fileprivate mutating func again(_ raw: kairos_repeat) {
        operation = Operations(rawValue: raw.op)
        time = raw.time_ns
        begun = raw.time_ns
        result = raw.result
        offset = raw.offset == KAIROS_NO_OFFSET ? nil : raw.offset
        bytes = raw.bytes
        systemCall = raw.syscall == KAIROS_NO_SYSCALL ? nil : raw.syscall
        probe = Probe(rawValue: raw.probe)
        isUnlinked = raw.flags & KAIROS_F_UNLINKED.rawValue != 0
        isDirectory = raw.flags & KAIROS_F_DIRECTORY.rawValue != 0
        isEarly = raw.flags & KAIROS_F_EARLY.rawValue != 0
    }
}
