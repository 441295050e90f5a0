import Background
import Glibc

/// `kairos trace --record` of one dataset, beside a benchmark.
final class TraceRecorderProcess {
    private let pid: pid_t
    private let ready: String
    private var hasEnded = false

    /// Returns when it sees.
    init(kairos: String, dataset: String, path: String) throws(TraceBench.Failure) {
        ready = path + ".ready"
        do {
            pid = try ChildProcess.spawn(
                kairos, ["trace", "--op", "all", "--record", path, "--ready-file", ready, dataset]
            ) { actions in
                posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
            }
        } catch { throw TraceBench.Failure(description: "cannot start \(kairos) trace: \(error)") }
        for _ in 0..<1500 {
            if access(ready, F_OK) == 0 { return }
            guard waitpid(pid, nil, WNOHANG) == 0 else {
                hasEnded = true
                break
            }
            usleep(20_000)
        }
        throw TraceBench.Failure(description: "kairos trace --record did not get ready: see what it said above")
    }

    deinit { try? end() }

    /// In order, its file whole.
    func end() throws(TraceBench.Failure) {
        guard !hasEnded else { return }
        hasEnded = true
        kill(pid, SIGINT)
        var status: CInt = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else {
            throw TraceBench.Failure(description: "kairos trace --record ended with wait status \(status)")
        }
    }
}
