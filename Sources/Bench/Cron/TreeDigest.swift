/// What a directory holds, as one number: names, kinds, sizes and content. Equal trees have equal digests; others differ, but for one
/// chance in 2^64. Order plays no part, so that a change can be added and taken away.
struct TreeDigest: Sendable, Hashable {
    private(set) var value: UInt64 = 0

    mutating func add(_ path: String, file: FileDigest) { value &+= Self.entry(path, file.value) }
    mutating func remove(_ path: String, file: FileDigest) { value &-= Self.entry(path, file.value) }
    mutating func add(directory path: String) { value &+= Self.entry(path, 1) }
    mutating func remove(directory path: String) { value &-= Self.entry(path, 1) }

    private static func entry(_ path: String, _ content: UInt64) -> UInt64 {
        var path = path
        let name = path.withUTF8 { FileDigest.hash(UnsafeRawBufferPointer($0)) }
        return FileDigest.mix(name ^ FileDigest.mix(content &+ 0x9e37_79b9_7f4a_7c15))
    }
}

/// The same of a file's content: a sum over its blocks, so that a write costs what it writes.
struct FileDigest: Sendable, Hashable {
    private static let block = 4096
    private var blocks: [UInt64] = []
    private var sum: UInt64 = 0
    private var size = 0

    var value: UInt64 { Self.mix(sum &+ Self.mix(UInt64(size) &+ 3)) }

    init() {}

    /// Of a whole file.
    init(_ bytes: UnsafeRawBufferPointer) { update(bytes, from: 0) }

    /// - Parameters:
    ///   - bytes: the whole file as it is now.
    ///   - first, end: what of it may be other than before; by default all behind `first`.
    mutating func update(_ bytes: UnsafeRawBufferPointer, from first: Int, to end: Int? = nil) {
        let count = (bytes.count + Self.block - 1) / Self.block
        while blocks.count > count { sum &-= blocks.removeLast() }
        // The last block was shorter, or is now.
        let first = min(first, size, bytes.count) / Self.block
        let last = min(count, ((end ?? bytes.count) + Self.block - 1) / Self.block)
        size = bytes.count
        guard first < last else { return }
        for index in first..<last {
            let start = index * Self.block
            let rest = UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + Self.block, bytes.count)])
            let piece = Self.mix(Self.hash(rest) &+ UInt64(start))
            if index < blocks.count {
                sum &-= blocks[index]
                blocks[index] = piece
            } else {
                blocks.append(piece)
            }
            sum &+= piece
        }
    }

    /// By eight bytes at a time: not for enemies, but for a benchmark's own files.
    static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var state = UInt64(bytes.count) &* 0xff51_afd7_ed55_8ccd
        var offset = 0
        while offset + 8 <= bytes.count {
            state = (state ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* 0x9fb2_1c65_1e98_df25
            state ^= state >> 29
            offset += 8
        }
        while offset < bytes.count {
            state = (state ^ UInt64(bytes[offset])) &* 0x9fb2_1c65_1e98_df25
            state ^= state >> 29
            offset += 1
        }
        return mix(state)
    }

    static func mix(_ value: UInt64) -> UInt64 {
        var value = value
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
