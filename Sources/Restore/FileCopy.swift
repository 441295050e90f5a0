import CRestore
import Glibc
import SystemPackage

/// Copies a file's content, holes as holes.
///
/// Each stretch of data goes by copy_file_range(2), by which OpenZFS clones blocks between a snapshot and its dataset (their
/// superblocks are two, so the ioctl FICLONERANGE says EXDEV there; within one superblock copy_file_range does as it does). SEEK_DATA
/// gives stretches that begin and end with blocks, and the file is not made longer beforehand: both is what cloning asks for.
/// Where that does not work, pieces are read and written, and what is all zeros stays a hole if the file occupies less than its size.
struct FileCopy {
    /// A multiple of every block size of ZFS; the copy can be called off between two pieces.
    static let clonePiece = 64 << 20
    static let readPiece = 1 << 20
    /// What becomes a hole, bytes.
    static let block = 4096

    /// Called after each piece; throws to call it off.
    let advance: (Int) throws(CallFailure) -> Void
    /// Bytes that the kernel copied.
    private(set) var kernelCopied: UInt64 = 0
    private var buffer: [UInt8] = []

    init(advance: @escaping (Int) throws(CallFailure) -> Void) { self.advance = advance }

    mutating func copy(from source: Opened, to target: Opened, status: Status) throws(CallFailure) {
        let size = status.size
        var byKernel = true
        var position: Int64 = 0
        // Where the last byte was written.
        var end: Int64 = 0
        while position < size {
            let (start, stop) = try Self.data(of: source, from: position, size: size)
            if start > position { try advance(Int(start - position)) }
            position = start
            while position < stop {
                let count: Int
                if byKernel {
                    let wanted = min(stop - position, Int64(Self.clonePiece))
                    let copied = kairos_restore_copy_range(source.raw, target.raw, off_t(position), Int(wanted))
                    if copied <= 0 {
                        let number = Errno(rawValue: errno)
                        // EIO is the source's or the target's; a read tells which. All else: not here.
                        if copied < 0, number == .noSpace || number == .diskQuotaExceeded {
                            throw CallFailure(tried: "write", name: [], errno: number, side: .destination)
                        }
                        if copied < 0, number == .interrupted { continue }
                        byKernel = false
                        continue
                    }
                    count = copied
                    kernelCopied += UInt64(count)
                    end = position + Int64(count)
                } else {
                    count = try piece(source, target, at: position, until: stop, skipsZeros: status.isSparse, end: &end)
                }
                position += Int64(count)
                try advance(count)
            }
        }
        if end < size {
            try target.call("make longer") { _ in Int(ftruncate(target.raw, off_t(size))) }
        }
    }

    /// The next stretch of data; at the end an empty one.
    private static func data(of file: Opened, from position: Int64, size: Int64) throws(CallFailure) -> (Int64, Int64) {
        let start = kairos_restore_seek_data(file.raw, off_t(position))
        if start < 0 {
            // No more data; or a file system that does not tell.
            return Errno(rawValue: errno) == .noSuchAddressOrDevice ? (size, size) : (position, size)
        }
        let hole = kairos_restore_seek_hole(file.raw, start)
        // Never backwards, whatever a file system says.
        let from = min(max(Int64(start), position), size)
        return (from, hole > start ? min(Int64(hole), size) : size)
    }

    private mutating func piece(
        _ source: Opened, _ target: Opened, at position: Int64, until stop: Int64, skipsZeros: Bool, end: inout Int64
    ) throws(CallFailure) -> Int {
        if buffer.isEmpty { buffer = [UInt8](repeating: 0, count: Self.readPiece) }
        let wanted = Int(min(stop - position, Int64(buffer.count)))
        let count = try source.call("read") { _ in
            buffer.withUnsafeMutableBytes { pread(source.raw, $0.baseAddress, wanted, off_t(position)) }
        }
        guard count > 0 else {
            // Shorter than it says it is.
            throw CallFailure(tried: "read to its end", name: [], errno: .ioError, side: .source)
        }
        var done = 0
        while done < count {
            var isZero = false
            let run =
                skipsZeros
                ? buffer[done..<count].withUnsafeBytes {
                    kairos_restore_run($0.baseAddress, $0.count, Self.block, &isZero)
                } : count - done
            if !isZero {
                var written = 0
                while written < run {
                    let from = done + written
                    written += try target.call("write") { _ in
                        buffer[from..<(done + run)].withUnsafeBytes {
                            pwrite(target.raw, $0.baseAddress, $0.count, off_t(position) + off_t(from))
                        }
                    }
                }
                end = position + Int64(done + run)
            }
            done += run
        }
        return count
    }
}
