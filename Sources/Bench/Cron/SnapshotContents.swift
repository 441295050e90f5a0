import Datasets
import Glibc
import SystemPackage

extension TreeDigest {
    /// Reads every file below a directory.
    ///
    /// - Throws: what could not be read.
    init(reading directory: String) throws(TraceBench.Failure) {
        let root = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard root >= 0 else { throw Self.failure("open", directory) }
        try add(root, below: "", directory)
    }

    /// Closes the directory.
    private mutating func add(_ directory: Int32, below prefix: String, _ root: String) throws(TraceBench.Failure) {
        guard let stream = fdopendir(directory) else {
            close(directory)
            throw Self.failure("list", root + "/" + prefix)
        }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name == "." || name == ".." || (prefix.isEmpty && name == ".zfs") { continue }
            let path = prefix + name
            let flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
            let file = openat(dirfd(stream), name, flags)
            guard file >= 0 else { throw Self.failure("open", root + "/" + path) }
            // zfs-fuse does not tell kinds with names.
            var status = stat()
            guard fstat(file, &status) == 0 else {
                close(file)
                throw Self.failure("look at", root + "/" + path)
            }
            if status.st_mode & S_IFMT == S_IFDIR {
                add(directory: path)
                try add(file, below: path + "/", root)
            } else {
                defer { close(file) }
                add(path, file: try Self.read(file, count: Int(status.st_size), root + "/" + path))
            }
        }
    }

    private static func read(
        _ file: Int32, count size: Int, _ path: String
    ) throws(TraceBench.Failure) -> FileDigest {
        var bytes = [UInt8](repeating: 0, count: size)
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(file, buffer.baseAddress?.advanced(by: count), buffer.count - count)
            }
            guard got > 0 else { throw failure("read", path) }
            count += got
        }
        return bytes.withUnsafeBytes { FileDigest($0) }
    }

    private static func failure(_ what: String, _ path: String) -> TraceBench.Failure {
        TraceBench.Failure(description: "cannot \(what) \(SafeText.line(path)): \(Errno(rawValue: errno))")
    }
}

/// Reads snapshots: below `.zfs`, or on zfs-fuse, which has none, by a clone for a moment.
struct SnapshotContents: Sendable {
    let command: ZFSCommand
    let hasDotZFS: Bool
    /// A file system of the benchmark's own, and where it is mounted: clones are made in it.
    let parent: (name: String, mountPoint: String)

    /// - Parameter mountPoint: of the dataset.
    func digest(of snapshot: String, in dataset: String, mountPoint: String) async throws(TraceBench.Failure)
        -> TreeDigest
    {
        if hasDotZFS { return try TreeDigest(reading: "\(mountPoint)/.zfs/snapshot/\(snapshot)") }
        let clone = "\(parent.name)/reading"
        do throws(ZFSError) {
            try await command.run(["clone", "-o", "readonly=on", "\(dataset)@\(snapshot)", clone])
        } catch {
            throw TraceBench.Failure(description: "cannot read \(dataset)@\(snapshot): \(error)")
        }
        let digest: Result<TreeDigest, TraceBench.Failure>
        do throws(TraceBench.Failure) {
            digest = .success(try TreeDigest(reading: parent.mountPoint + "/reading"))
        } catch {
            digest = .failure(error)
        }
        // It is called busy for a moment after it was read.
        for attempt in 0... {
            do throws(ZFSError) {
                try await command.run(["destroy", clone])
                break
            } catch {
                guard error.kind == .busy, attempt < 200 else {
                    throw TraceBench.Failure(description: "cannot remove \(clone): \(error)")
                }
            }
            try? await Task.sleep(for: .milliseconds(25))
        }
        return try digest.get()
    }
}
