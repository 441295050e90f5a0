import Tracing

/// Actions in their order, with what is known of them before anybody does them: the log of a workload, but for the times.
public struct Script: Sendable {
    public struct Step: Sendable {
        public var planned: PlannedAction
        /// Of the whole tree after it.
        var digest: TreeDigest
    }

    /// What is there before it begins.
    public var preparation: [FileAction]
    public var steps: [Step]
    /// Of the tree after the preparation.
    let start: TreeDigest
    /// Seconds of the model.
    public var length: Double

    /// - Throws: an action that cannot be done there: a model is wrong.
    init(preparation: [FileAction], actions: [PlannedAction], length: Double) throws(Fault) {
        var tree = ModelTree()
        for action in preparation { try tree.apply(action) }
        self.preparation = preparation
        self.length = length
        start = tree.digest
        steps = []
        steps.reserveCapacity(actions.count)
        for planned in actions {
            try tree.apply(planned.action)
            steps.append(Step(planned: planned, digest: tree.digest))
        }
    }

    public struct Fault: Error, Sendable, CustomStringConvertible {
        public var description: String
    }
}

/// Files and directories in memory.
struct ModelTree {
    private struct File {
        var content: [UInt8] = []
        var digest = FileDigest()
    }

    private(set) var digest = TreeDigest()
    private var files: [String: File] = [:]
    private var directories: Set<String> = []

    mutating func apply(_ action: FileAction) throws(Script.Fault) {
        switch action {
        case .makeDirectory(let path):
            guard directories.insert(path).inserted else { throw Self.wrong(action) }
            digest.add(directory: path)
        case .removeDirectory(let path):
            let prefix = path + "/"
            guard directories.contains(path), !files.keys.contains(where: { $0.hasPrefix(prefix) }) else {
                throw Self.wrong(action)
            }
            directories.remove(path)
            digest.remove(directory: path)
        case .create(let path):
            guard files[path] == nil else { throw Self.wrong(action) }
            put(File(), at: path)
        case .write(let path, let offset, let count, let seed):
            guard var file = take(path), offset <= file.content.count else { throw Self.wrong(action) }
            if file.content.count < offset + count {
                file.content += [UInt8](repeating: 0, count: offset + count - file.content.count)
            }
            file.content.withUnsafeMutableBytes { bytes in
                Noise.fill(UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + count]), seed: seed)
                file.digest.update(UnsafeRawBufferPointer(bytes), from: offset, to: offset + count)
            }
            put(file, at: path)
        case .truncate(let path, let size):
            guard var file = take(path), size <= file.content.count else { throw Self.wrong(action) }
            file.content.removeLast(file.content.count - size)
            file.content.withUnsafeBytes { file.digest.update($0, from: 0) }
            put(file, at: path)
        case .rename(let old, let new):
            guard let file = take(old) else { throw Self.wrong(action) }
            _ = take(new)
            put(file, at: new)
        case .unlink(let path):
            guard take(path) != nil else { throw Self.wrong(action) }
        }
    }

    private mutating func take(_ path: String) -> File? {
        guard let file = files.removeValue(forKey: path) else { return nil }
        digest.remove(path, file: file.digest)
        return file
    }

    private mutating func put(_ file: File, at path: String) {
        digest.add(path, file: file.digest)
        files[path] = file
    }

    private static func wrong(_ action: FileAction) -> Script.Fault {
        Script.Fault(description: "the workload cannot do this: \(action)")
    }
}

extension FileAction {
    /// What a trace would tell of it.
    func facts(time: UInt64, place: [UInt8]) -> TraceFacts {
        var facts = TraceFacts(
            time: time, operation: .create, place: place, path: nil, oldPath: nil, bytes: 0, isDirectory: false,
            isUnlinked: false, failed: false)
        switch self {
        case .makeDirectory(let path):
            (facts.operation, facts.path, facts.isDirectory) = (.mkdir, Array(path.utf8), true)
        case .removeDirectory(let path):
            (facts.operation, facts.path, facts.isDirectory) = (.rmdir, Array(path.utf8), true)
        case .create(let path): facts.path = Array(path.utf8)
        case .write(let path, _, let count, _):
            (facts.operation, facts.path, facts.bytes) = (.write, Array(path.utf8), UInt64(count))
        case .truncate(let path, _): (facts.operation, facts.path) = (.truncate, Array(path.utf8))
        case .rename(let old, let new):
            (facts.operation, facts.path, facts.oldPath) = (.rename, Array(new.utf8), Array(old.utf8))
        case .unlink(let path): (facts.operation, facts.path) = (.unlink, Array(path.utf8))
        }
        return facts
    }
}
