import Background
import Glibc
import SystemPackage
import Testing

@Suite("Child processes")
struct ChildProcessTests {
    private func shell(
        _ script: String, limit: Duration? = .seconds(60), outputLimit: Int = 1 << 20
    ) -> ChildProcess.Ending {
        let ending = ChildProcess("/bin/sh", ["-c", script], outputLimit: outputLimit, errorLimit: 1000)
            .run(timeLimit: limit)
        // How long it took is another one each time.
        func timeless(_ output: ChildProcess.Output) -> ChildProcess.Output {
            var output = output
            output.cpu = .zero
            return output
        }
        return switch ending {
        case .exited(let output, let status): .exited(timeless(output), status: status)
        case .signalled(let output, let signal): .signalled(timeless(output), signal: signal)
        default: ending
        }
    }

    private func output(_ stdout: String, _ stderr: String = "") -> ChildProcess.Output {
        var output = ChildProcess.Output()
        output.stdout = Array(stdout.utf8)
        output.stderr = Array(stderr.utf8)
        return output
    }

    @Test("one that is to stop is killed, without a limit of time")
    func stopped() {
        var child = ChildProcess("/bin/sleep", ["3600"], outputLimit: 100, errorLimit: 100)
        child.isStopped = { true }
        #expect(child.run(timeLimit: nil) == .timedOut(died: true))
    }

    @Test("both streams and the status come back")
    func streams() {
        #expect(shell("echo out; echo err >&2; exit 3") == .exited(output("out\n", "err\n"), status: 3))
        #expect(shell("kill -TERM $$") == .signalled(output(""), signal: SIGTERM))
    }

    @Test("the time that it and its children took of a CPU")
    func cpu() throws {
        let child = ChildProcess(
            "/bin/sh", ["-c", "head -c 100000000 /dev/zero | wc -c"], outputLimit: 100, errorLimit: 100)
        guard case .exited(let output, 0) = child.run(timeLimit: .seconds(60)) else {
            Issue.record("it did not end well")
            return
        }
        #expect(output.cpu > .zero)
    }

    @Test("it has an environment, a directory and descriptors of its own, and no signal blocked or ignored")
    func surroundings() {
        let pid = getpid()
        #expect(shell("pwd; cat; exit 0") == .exited(output("/\n"), status: 0))
        #expect(
            shell("env | sort | grep -v ^PWD= | grep -v ^_= | grep -v ^SHLVL=")
                == .exited(output("LC_ALL=C\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n"), status: 0))
        #expect(shell("ls /proc/self/fd | wc -w") == .exited(output("4\n"), status: 0))
        // The last 28 bits: glibc keeps two of the signals above them for itself.
        #expect(
            shell("grep -E 'Sig(Blk|Ign)' /proc/self/status | grep -o '.......$'")
                == .exited(output("0000000\n0000000\n"), status: 0))
        #expect(shell("[ $(ps -o pgid= -p $$) -ne $(ps -o pgid= -p \(pid)) ]") == .exited(output(""), status: 0))
    }

    @Test("more output than a pipe holds comes back whole, more than the limit ends it")
    func volume() {
        guard case .exited(let whole, 0) = shell("head -c 500000 /dev/zero; head -c 900 /dev/zero >&2") else {
            Issue.record("it did not end well")
            return
        }
        #expect(whole.stdout.count == 500_000)
        #expect(whole.stderr.count == 900)
        #expect(shell("head -c 2000000 /dev/zero; sleep 1000") == .tooMuchOutput)
    }

    @Test("a limit ends it and what it started")
    func limits() {
        #expect(shell("sleep 1000 & sleep 1000", limit: .milliseconds(50)) == .timedOut(died: true))
    }

    @Test("what a child leaves behind is not waited for")
    func leftBehind() {
        // The grandchild keeps the pipes open; it ends by itself when the test has read its number.
        guard case .exited(let output, 0) = shell("sleep 1000 & echo $!") else {
            Issue.record("it did not end")
            return
        }
        let text = String(decoding: output.stdout, as: UTF8.self)
        guard let pid = pid_t(text.dropLast()) else {
            Issue.record("no number: \(text)")
            return
        }
        #expect(kill(pid, SIGKILL) == 0)
    }

    @Test("a program that is not there")
    func missing() {
        let child = ChildProcess("/nonexistent/zfs", [], outputLimit: 1, errorLimit: 1)
        #expect(child.run(timeLimit: nil) == .notStarted(.noSuchFileOrDirectory))
    }
}
