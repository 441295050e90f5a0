import Background
import Datasets
import Glibc
import SystemPackage

/// The zfs-fuse that scratch pools run on where the kernel has no ZFS and no zfs-fuse ran before: started by the first,
/// used by all, stopped by the last. Every function but `pid` is to be called in one's `Turn`.
///
/// It has to outlive everything else until the last pool is gone.
enum ZFSFuseDaemon {
    private static let paths = ["/usr/sbin/zfs-fuse", "/sbin/zfs-fuse", "/usr/local/sbin/zfs-fuse"]
    /// Holds the process ID of the daemon that a scratch pool started.
    private static let note = Turn.directory + "/scratch-zfs-fuse.pid"

    /// The running daemon that a scratch pool started, of this process or another.
    static var pid: pid_t? {
        guard let text = read(note), let pid = pid_t(text.prefix { $0 != "\n" }), pid > 1,
            read("/proc/\(pid)/comm") == "zfs-fuse\n"
        else { return nil }
        return pid
    }

    /// Starts the daemon and waits until its command is answered. Its messages go to `directory/zfs-fuse.log`.
    static func start(directory: String, command: ZFSCommand) async throws {
        guard let path = paths.first(where: { access($0, X_OK) == 0 }) else {
            throw ScratchError(
                operation: "start a ZFS",
                reason: "the kernel has no zfs module and there is no zfs-fuse: 'apt-get install zfs-fuse'")
        }
        let pid = try spawn(path, ["--no-daemon", "--no-kstat-mount"], log: directory + "/zfs-fuse.log")
        do {
            let file = try FileDescriptor.open(
                FilePath(note), .writeOnly, options: [.create, .truncate, .noFollow, .closeOnExec],
                permissions: .ownerReadWrite)
            try file.closeAfter { _ = try file.writeAll("\(pid)\n".utf8) }
        } catch {
            await end(pid)
            throw ScratchError(operation: "write \(note)", reason: "\(error)")
        }
        for _ in 0..<200 {
            if await ScratchPool.answers(command) { return }
            var status: CInt = 0
            if waitpid(pid, &status, WNOHANG) == pid {
                unlink(note)
                throw ScratchError(
                    operation: "start \(path)",
                    reason: "it ended at once (wait status \(status)); is /dev/fuse there?")
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
        await end(pid)
        unlink(note)
        throw ScratchError(operation: "start \(path)", reason: "it did not answer within 10 s")
    }

    /// Ends the daemon that a scratch pool started, unless somebody has a pool on it.
    static func stopIfUnused(_ command: ZFSCommand) async {
        guard let pid else { return }
        if let list = try? await command.runPool(["list", "-H", "-o", "name"], timeLimit: .seconds(10)) {
            let text = String(decoding: list, as: UTF8.self)
            guard text.isEmpty || text.hasPrefix("no pools available") else { return }
        }
        await end(pid)
        unlink(note)
    }

    /// Ends a process, be it a child of ours or not, and waits for its end.
    private static func end(_ pid: pid_t) async {
        kill(pid, SIGTERM)
        for attempt in 0..<200 {
            var status: CInt = 0
            if waitpid(pid, &status, WNOHANG) == pid || kill(pid, 0) != 0 { return }
            if attempt == 150 { kill(pid, SIGKILL) }
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    private static func read(_ path: String) -> String? {
        guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: [.noFollow, .closeOnExec]) else {
            return nil
        }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = (try? file.closeAfter { try bytes.withUnsafeMutableBytes { try file.read(into: $0) } }) ?? 0
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    private static func spawn(_ path: String, _ arguments: [String], log: String) throws -> pid_t {
        do {
            // A session of its own: Ctrl-C on the terminal must not end it while its pool is in use.
            return try ChildProcess.spawn(path, arguments, newSession: true) { actions in
                posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
                posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
            }
        } catch {
            throw ScratchError(operation: "start \(path)", reason: "\(error)")
        }
    }
}
