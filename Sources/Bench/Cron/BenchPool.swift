import Background
import Datasets
import Glibc
import Scratch

/// Where a benchmark makes its datasets: in a scratch pool, or below a pool or dataset that is given.
public final class BenchPool {
    let command: ZFSCommand
    public let flavour: ZFSFlavour
    private let scratch: ScratchPool?
    /// Everything is below this.
    private let parent: String
    private let mountPoint: String

    /// - Parameter given: nil for a scratch pool.
    public init(in given: String?) throws(TraceBench.Failure) {
        guard let given else {
            let made: Result<ScratchPool, TraceBench.Failure> = blocking {
                _ = await ScratchPool.removeLeftovers()
                do { return .success(try await ScratchPool(purpose: "bench", datasets: [], size: 2 << 30)) } catch {
                    return .failure(TraceBench.Failure(description: "\(error)"))
                }
            }
            let pool = try made.get()
            (scratch, command, flavour) = (pool, pool.command, pool.flavour)
            (parent, mountPoint) = (pool.name, pool.mountPoint)
            return
        }
        do { command = try ZFSCommand.find() } catch { throw TraceBench.Failure(description: "\(error)") }
        flavour = access("/sys/module/zfs/version", F_OK) == 0 ? .kernel : .fuse
        scratch = nil
        Self.removeLeftovers(command, below: given)
        parent = "\(given)/kairos-bench-\(getpid())"
        let made = Self.run(command, ["create", "-o", "\(Self.mark)=\(getpid())", parent])
        if let made { throw TraceBench.Failure(description: made) }
        guard let path = Self.ask(command, ["get", "-H", "-o", "value", "mountpoint", parent]), path.hasPrefix("/")
        else {
            _ = Self.run(command, ["destroy", parent])
            throw TraceBench.Failure(description: "\(parent) has no mount point")
        }
        mountPoint = path
    }

    /// On what a benchmark made: its process.
    private static let mark = "kairos:bench"

    /// What a benchmark left that was killed: by name *and* its own property, of a process that is no more.
    private static func removeLeftovers(_ command: ZFSCommand, below given: String) {
        let prefix = "\(given)/kairos-bench-"
        guard let output = blocking({ try? await command.run(["list", "-H", "-o", "name", "-r", given]) }) else {
            return
        }
        for name in String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
        where name.hasPrefix(prefix) {
            guard let pid = pid_t(name.dropFirst(prefix.count)), kill(pid, 0) != 0, errno == ESRCH,
                ask(command, ["get", "-H", "-o", "value,source", mark, name]) == "\(pid)\tlocal"
            else { continue }
            // Called busy for a moment by whoever still ends there.
            for _ in 0..<25 {
                if run(command, ["destroy", "-r", name]) == nil { break }
                usleep(200_000)
            }
        }
    }

    /// Removes everything that was made; what could not be is returned, a line each.
    public func remove() -> [String] {
        if let scratch { return blocking { await scratch.destroy() } }
        var last = ""
        for _ in 0..<100 {
            guard let failed = Self.run(command, ["destroy", "-r", parent]) else { return [] }
            last = failed
            usleep(200_000)
        }
        return [last]
    }

    /// A dataset, and where it is mounted.
    public func make(_ name: String) throws(TraceBench.Failure) -> (name: String, mountPoint: String) {
        if let failed = Self.run(command, ["create", "\(parent)/\(name)"]) {
            throw TraceBench.Failure(description: failed)
        }
        return ("\(parent)/\(name)", "\(mountPoint)/\(name)")
    }

    func destroy(_ dataset: String) throws(TraceBench.Failure) {
        for attempt in 0... {
            guard let failed = Self.run(command, ["destroy", "-r", dataset]) else { return }
            guard attempt < 100 else { throw TraceBench.Failure(description: failed) }
            usleep(100_000)
        }
    }

    func snapshot(_ dataset: String, _ name: String) throws(TraceBench.Failure) {
        if let failed = Self.run(command, ["snapshot", "\(dataset)@\(name)"]) {
            throw TraceBench.Failure(description: failed)
        }
    }

    func digest(of snapshot: String, in dataset: String, mountPoint: String) throws(TraceBench.Failure) -> TreeDigest {
        let contents = SnapshotContents(
            command: command, hasDotZFS: flavour == .kernel, parent: (parent, self.mountPoint))
        let result: Result<TreeDigest, TraceBench.Failure> = blocking {
            do throws(TraceBench.Failure) {
                return .success(try await contents.digest(of: snapshot, in: dataset, mountPoint: mountPoint))
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// What asks whether anything was written since the last snapshot; nil where ZFS does not know.
    func written(_ dataset: String) -> (@Sendable () -> (Bool, cpu: Duration))? {
        guard flavour == .kernel else { return nil }
        let (zfs, zpool) = (command.zfs, command.zpool)
        let pool = String(dataset.prefix { $0 != "/" })
        return {
            // By itself it would tell of what was written up to five seconds ago, which is minutes of a model's time.
            var cpu = Duration.zero
            if let zpool {
                let sync = ChildProcess(zpool, ["sync", pool], outputLimit: 4096, errorLimit: 4096)
                if case .exited(let output, _) = sync.run(timeLimit: .seconds(60)) { cpu = output.cpu }
            }
            let child = ChildProcess(
                zfs, ["get", "-Hp", "-o", "value", "written", dataset], outputLimit: 4096, errorLimit: 4096)
            guard case .exited(let output, 0) = child.run(timeLimit: .seconds(60)) else { return (true, cpu) }
            return (output.stdout != Array("0\n".utf8), cpu + output.cpu)
        }
    }

    /// What only the snapshots of each hold, bytes.
    func snapshotSpace(of datasets: [String]) throws(TraceBench.Failure) -> [String: UInt64] {
        // ZFS tells what was there at the last transaction group: a snapshot ends one.
        try snapshot(parent, "space")
        var space: [String: UInt64] = [:]
        for dataset in datasets {
            let value = Self.ask(command, ["get", "-Hp", "-o", "value", "usedbysnapshots", dataset])
            space[dataset] = value.flatMap { UInt64($0) }
        }
        if let failed = Self.run(command, ["destroy", "\(parent)@space"]) {
            throw TraceBench.Failure(description: failed)
        }
        return space
    }

    /// Nil, or what failed.
    private static func run(_ command: ZFSCommand, _ arguments: [String]) -> String? {
        blocking {
            do throws(ZFSError) {
                try await command.run(arguments)
                return nil
            } catch { return error.description }
        }
    }

    private static func ask(_ command: ZFSCommand, _ arguments: [String]) -> String? {
        blocking {
            guard let output = try? await command.run(arguments) else { return nil }
            return String(decoding: output, as: UTF8.self).split(separator: "\n").first.map(String.init)
        }
    }
}
