import CTestSupport
import Glibc
import Subprocess
import SystemPackage
import Testing
import Tracing

extension IntegrationTests {
    @Suite("The end of a trace, and too much for it")
    struct TraceEndTests {
        private static func flood(_ directory: String, writes count: Int) throws {
            let file = try OpenFile(directory + "/flood", O_CREAT | O_WRONLY)
            var byte: UInt8 = 1
            for _ in 0..<count where pwrite(file.raw, &byte, 1, 0) != 1 {
                throw CallError(call: "pwrite", errno: Errno(rawValue: errno))
            }
        }

        @Test("by a signal, a count, or time: status 0", arguments: ["INT", "TERM", "count", "duration"])
        func ends(by what: String) async throws {
            let options = what == "count" ? ["--count", "3"] : what == "duration" ? ["--duration", "100ms"] : []
            try await TraceRun.run(["--json", "--op", "mkdir", "--pid", "\(getpid())"] + options) { run in
                switch what {
                case "INT": try run.kairos.signal(.interrupt)
                case "TERM": try run.kairos.signal(.terminate)
                case "count":
                    for number in 0..<5 {
                        try call("mkdirat", .here, .text("\(run.directory)/\(number)"), 0o755)
                    }
                default: break
                }
                let status = try await run.kairos.exit()
                #expect(status == .exited(0), "\(run.kairos.transcript)")
                if what == "count" { #expect(run.kairos.lines.count == 3) }
                #expect(try run.tally().shown == run.kairos.lines.count)
            }
        }

        @Test("a million events: what is shown and what is lost make a million", arguments: [1 << 16, 32 << 20])
        func flood(ring: Int) async throws {
            let options = ["--summary", "--json", "--op", "write", "--pid", "\(getpid())", "--ring-bytes", "\(ring)"]
            try await TraceRun.run(options + ["/tmp"]) { run in
                try Self.flood(run.directory, writes: 1_000_000)
                try run.kairos.signal(.interrupt)
                // What waits in the ring is shown first: long, where the machine is an emulated one.
                #expect(try await run.kairos.exit(timeout: .seconds(900)) == .exited(0))
                let (shown, lost) = try run.tally()
                // The runner's own report may go to a file below /tmp, but not while this function runs.
                #expect(shown + lost == 1_000_000, "\(run.kairos.messages)")
                if ring == 1 << 16 { #expect(lost > 0) }
            }
        }

        /// Starts a trace whose stdout is the writing end of a pipe.
        private func traceIntoPipe(
            _ body: (_ pid: pid_t, _ reader: FileDescriptor, _ directory: String) async throws -> Void
        ) async throws -> (status: TerminationStatus, messages: String) {
            var template = Array("/tmp/kairos-trace-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw CallError(call: "mkdtemp", errno: Errno(rawValue: errno)) }
            let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            defer { removeTree(directory) }
            let ready = directory + "-ready"
            defer { unlink(ready) }
            let pipe = try FileDescriptor.pipe()
            // A reading end of its own would keep its pipe open for ever.
            _ = fcntl(pipe.readEnd.rawValue, F_SETFD, FD_CLOEXEC)
            let arguments = [
                "trace", "--json", "--op", "all", "--pid", "\(getpid())", "--ready-file", ready, directory,
            ]
            let result = try await Subprocess.run(
                .path(FilePath(try KairosProcess.executable)), arguments: Arguments(arguments), input: .none,
                output: .fileDescriptor(pipe.writeEnd, closeAfterSpawningProcess: true), error: .sequence
            ) { execution in
                let pid = execution.processIdentifier.value
                #expect(support_guard(pid) == 0)
                let isReady = await wait(for: KairosProcess.patience) { exists(ready) }
                #expect(isReady)
                try await body(pid, pipe.readEnd, directory)
                try execution.send(signal: .interrupt)
                var messages = ""
                for try await buffer in execution.standardError {
                    messages += buffer.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
                }
                return messages
            }
            return (result.terminationStatus, result.closureResult)
        }

        /// In KiB.
        private func memory(of pid: pid_t) throws -> Int {
            let status = String(decoding: try contents(of: "/proc/\(pid)/status"), as: UTF8.self)
            let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmData:") })
            return try #require(Int(line.split(whereSeparator: { $0 == " " || $0 == "\t" })[1]))
        }

        @Test("a reader that does not read makes lost events, not a growing process")
        func slowReader() async throws {
            let (status, messages) = try await traceIntoPipe { pid, _, directory in
                try Self.flood(directory, writes: 300_000)
                let before = try memory(of: pid)
                try Self.flood(directory, writes: 300_000)
                #expect(try memory(of: pid) <= before + 1024)
            }
            #expect(status == .exited(0), "\(messages)")
            #expect(!messages.contains("lost: 0 ring full"), "\(messages)")
        }

        @Test("a reader that goes away ends it, quietly")
        func closedPipe() async throws {
            let (status, messages) = try await traceIntoPipe { pid, reader, directory in
                try reader.close()
                try Self.flood(directory, writes: 1)
                // Ended by itself: gone, or waiting to be reaped.
                let isOver = await wait(for: KairosProcess.patience) {
                    guard let stat = try? contents(of: "/proc/\(pid)/stat") else { return true }
                    return String(decoding: stat, as: UTF8.self).contains(") Z ")
                }
                #expect(isOver)
            }
            #expect(status == .exited(0), "\(messages)")
            #expect(messages.split(separator: "\n").allSatisfy { $0.hasPrefix("kairos: ") }, "\(messages)")
        }

        @Test(
            "bad words are refused in one line, and nothing is made",
            arguments: [
                ["--op", "explode"], ["--pid", "0"], ["--pid", "4194304"], ["--follow"], ["--user", "no such user"],
                ["--count", "0"], ["--duration", "soon"], ["-T", "-tt"], ["--probes", "zfs"], ["--ring-bytes", "1"],
                ["/no/such/path"], ["--replay", "/no/such/file"], ["--replay", "/etc/passwd"],
                ["--replay", "/etc/passwd", "--duration", "1s"], ["--summary", "--record", "/tmp/kairos-none"],
                ["--record", "/etc/passwd"], ["--ready-file", "/etc/passwd", "--duration", "1ms"],
            ])
        func refused(words: [String]) async throws {
            let (status, stdout, stderr) = try await KairosProcess.output(["trace", "--no-header"] + words)
            #expect(status != .exited(0))
            #expect(stdout.isEmpty)
            #expect(stderr.split(separator: "\n").count(where: { !$0.hasPrefix("kairos: tracing") }) == 1, "\(stderr)")
            #expect(!exists("/tmp/kairos-none"))
        }
    }
}
