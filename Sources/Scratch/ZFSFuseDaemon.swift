import CLinux
import Datasets
import Glibc

/// A zfs-fuse that this process started.
///
/// Not by swift-subprocess: that ends its children with the scope that runs them, and this one has to outlive everything
/// else until its pool is gone.
final class ZFSFuseDaemon: Sendable {
    let pid: pid_t

    private init(pid: pid_t) { self.pid = pid }

    private static let paths = ["/usr/sbin/zfs-fuse", "/sbin/zfs-fuse", "/usr/local/sbin/zfs-fuse"]

    /// Starts the daemon and waits until its command is answered. Its messages go to `directory/zfs-fuse.log`.
    static func start(directory: String, command: ZFSCommand) async throws -> ZFSFuseDaemon {
        guard let path = paths.first(where: { access($0, X_OK) == 0 }) else {
            throw ScratchError(
                operation: "start a ZFS",
                reason: "the kernel has no zfs module and there is no zfs-fuse: 'apt-get install zfs-fuse'")
        }
        let pid = try spawn(path, ["--no-daemon", "--no-kstat-mount"], log: directory + "/zfs-fuse.log")
        let daemon = ZFSFuseDaemon(pid: pid)
        for _ in 0..<200 {
            if await ScratchPool.answers(command) { return daemon }
            var status: CInt = 0
            if waitpid(pid, &status, WNOHANG) == pid {
                throw ScratchError(operation: "start \(path)", reason: "it ended at once (wait status \(status)); is /dev/fuse there?")
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
        await daemon.stop()
        throw ScratchError(operation: "start \(path)", reason: "it did not answer within 10 s")
    }

    /// Ends the daemon and waits for its end.
    func stop() async {
        kill(pid, SIGTERM)
        for attempt in 0..<200 {
            var status: CInt = 0
            if waitpid(pid, &status, WNOHANG) != 0 { return }
            if attempt == 150 { kill(pid, SIGKILL) }
            try? await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Ends the daemon of a process that died; only when that PID still is a zfs-fuse.
    static func end(_ pid: pid_t) {
        var buffer = [UInt8](repeating: 0, count: 64)
        let file = open("/proc/\(pid)/comm", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        let count = read(file, &buffer, buffer.count)
        close(file)
        guard String(decoding: buffer[..<max(count, 0)], as: UTF8.self) == "zfs-fuse\n" else { return }
        kill(pid, SIGTERM)
        // Not our child any more: wait until it is gone, or for five seconds.
        for _ in 0..<100 where kill(pid, 0) == 0 { usleep(50_000) }
    }

    private static func spawn(_ path: String, _ arguments: [String], log: String) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A session of its own: Ctrl-C on the terminal must not end it while its pool is in use.
        posix_spawnattr_setflags(&attributes, Int16(kairos_spawn_setsid))

        let words = [path] + arguments
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { pointers.forEach { free($0) } }
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), strdup("LC_ALL=C"), nil]
        defer { environment.forEach { free($0) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, path, &actions, &attributes, &pointers, &environment)
        guard result == 0 else {
            throw ScratchError(operation: "start \(path)", reason: String(cString: strerror(result)))
        }
        return pid
    }
}
