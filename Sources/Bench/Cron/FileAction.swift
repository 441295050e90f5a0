/// One change to a file or directory, as programs make it: one system call, with the open and close around it. Paths are from
/// the dataset's root.
public enum FileAction: Sendable, Hashable {
    case makeDirectory(String)
    /// An empty file where none is.
    case create(String)
    /// Bytes that follow from the seed, into a file that is there.
    case write(String, at: Int, count: Int, seed: UInt64)
    case truncate(String, to: Int)
    /// Over a file that may be there.
    case rename(String, to: String)
    case unlink(String)
    case removeDirectory(String)
}

/// An action at its time.
public struct PlannedAction: Sendable, Hashable {
    /// Since the beginning, seconds of the model.
    public var time: Double
    public var action: FileAction
}

/// What a `write` writes: noise, so that nothing compresses.
enum Noise {
    static func fill(_ bytes: UnsafeMutableRawBufferPointer, seed: UInt64) {
        var generator = SplitMix(state: seed)
        let words = bytes.count / 8
        for word in 0..<words { bytes.storeBytes(of: generator.next(), toByteOffset: word * 8, as: UInt64.self) }
        withUnsafeBytes(of: generator.next()) { last in
            UnsafeMutableRawBufferPointer(rebasing: bytes[(words * 8)...]).copyBytes(from: last.prefix(bytes.count % 8))
        }
    }
}
