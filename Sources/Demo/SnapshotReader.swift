import Datasets
import Scratch

/// Reads files out of snapshots of a scratch pool.
struct SnapshotReader: Sendable {
    let pool: ScratchPool

    /// The files of one snapshot, by name.
    ///
    /// zfs-fuse has no `.zfs` directory: there it is a clone for a moment, which is destroyed again.
    func files(dataset: String, snapshot: String) async throws(DemoError) -> [String: [UInt8]] {
        switch pool.flavour {
        case .kernel:
            return try read("\(pool.mountPoint)/\(dataset)/.zfs/snapshot/\(snapshot)")
        case .fuse:
            let clone = "\(pool.name)/reading"
            let result: Result<[String: [UInt8]], DemoError>
            do throws(ZFSError) {
                try await pool.command.run(["clone", "-o", "readonly=on", "\(pool.name)/\(dataset)@\(snapshot)", clone])
            } catch {
                throw .reading("cannot read \(dataset)@\(snapshot): \(error)")
            }
            do throws(DemoError) { result = .success(try read("\(pool.mountPoint)/reading")) } catch {
                result = .failure(error)
            }
            try await destroy(clone)
            return try result.get()
        }
    }

    /// The full names of a dataset's snapshots, after `@`, the oldest first.
    func snapshots(of dataset: String) async throws(DemoError) -> [String] {
        let full = "\(pool.name)/\(dataset)"
        do throws(ZFSError) {
            let output = try await pool.command.run(["list", "-H", "-t", "snapshot", "-o", "name", "-r", full])
            let names = String(decoding: output, as: UTF8.self).split(separator: "\n")
            // Kairos's names sort as their times do; zfs tells times to the second only.
            return names.filter { $0.hasPrefix(full + "@") }.map { String($0.dropFirst(full.utf8.count + 1)) }.sorted()
        } catch {
            throw .reading("cannot list the snapshots of \(full): \(error)")
        }
    }

    func live(_ dataset: String) throws(DemoError) -> [String: [UInt8]] { try read("\(pool.mountPoint)/\(dataset)") }

    private func read(_ directory: String) throws(DemoError) -> [String: [UInt8]] {
        do throws(FileTreeError) { return try FileTree.files(in: directory) } catch {
            throw .reading(error.description)
        }
    }

    /// zfs-fuse calls a file system busy for a moment after it was read.
    private func destroy(_ clone: String) async throws(DemoError) {
        var last = ""
        for _ in 0..<200 {
            do throws(ZFSError) {
                try await pool.command.run(["destroy", clone])
                return
            } catch {
                last = error.description
                guard error.kind == .busy else { break }
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
        throw .reading("cannot remove a clone: \(last)")
    }
}
