import CLibbpf
import SystemPackage

/// A BPF array map in memory: what programs store, user space reads with plain loads, and the other way round.
///
/// Offsets are bytes from the start of the map; they are checked. Loads acquire, stores are sequentially consistent.
public struct MappedArray: ~Copyable, @unchecked Sendable {
    // Sendable: the memory stays mapped as long as this value lives, and it is only touched by atomic loads and stores.
    private let base: UnsafeMutableRawPointer
    /// The size in bytes that may be accessed.
    public let byteCount: Int
    private let mappedBytes: Int

    init(descriptor: CInt, name: String, bytes: Int) throws(BPFError) {
        let page = Int(kairos_page_size())
        mappedBytes = (bytes + page - 1) / page * page
        guard let base = kairos_map_shared(descriptor, mappedBytes) else {
            throw BPFError(operation: "map into memory", subject: name, errno: Errno(rawValue: systemErrno()), log: "")
        }
        self.base = base
        byteCount = bytes
    }

    deinit { kairos_unmap(base, mappedBytes) }

    public func load64(at offset: Int) -> UInt64 { kairos_load64(place(offset, 8)) }
    public func load32(at offset: Int) -> UInt32 { kairos_load32(place(offset, 4)) }
    public func store64(_ value: UInt64, at offset: Int) { kairos_store64(place(offset, 8), value) }
    public func store32(_ value: UInt32, at offset: Int) { kairos_store32(place(offset, 4), value) }

    /// The value becomes `value` if that is more.
    public func raise64(_ value: UInt64, at offset: Int) { kairos_raise64(place(offset, 8), value) }

    private func place(_ offset: Int, _ size: Int) -> UnsafeMutableRawPointer {
        precondition(offset >= 0 && offset + size <= byteCount && offset % size == 0, "outside of the mapped array")
        return base + offset
    }
}
