import Datasets
import Glibc
import Scratch
import Subprocess
import SystemPackage
import Testing

extension IntegrationTests {
    /// Each command ends soon after a signal, also while it waits or reads for long. "Soon" is before what it waits for has come: that
    /// never comes here.
    @Suite("A signal during a long look")
    struct SignalTests {
        /// A `zfs` of which one verb never comes to its end.
        private struct Stuck {
            let path: String

            init(_ verb: String, _ fixture: Fixture) throws {
                path = fixture.pool.directory + "/stuck-zfs"
                try write(
                    """
                    #!/bin/sh
                    if [ "$1" = \(verb) ]; then echo $$ >"$0.pid.new"; mv "$0.pid.new" "$0.pid"; exec sleep 3600; fi
                    exec '\(fixture.pool.command.zfs)' "$@"

                    """, to: path, mode: 0o755)
            }

            /// The process that never ends, once it has begun.
            var pid: pid_t? {
                let text = (try? contents(of: path + ".pid")).map { String(decoding: $0, as: UTF8.self) }
                return text.flatMap { pid_t($0.split(separator: "\n").first ?? "") }
            }

            func remove() {
                if let pid { kill(pid, SIGKILL) }
                for suffix in ["", ".pid"] { unlink(path + suffix) }
            }
        }

        private func dataset(_ name: String, _ body: (Fixture, String) async throws -> Void) async throws {
            let fixture = try Fixture.current()
            try await fixture.zfs("create", fixture.name(name))
            let result: Result<Void, any Error>
            do { result = .success(try await body(fixture, fixture.path(name))) } catch { result = .failure(error) }
            try? await fixture.patiently("destroy", "-R", fixture.name(name))
            try result.get()
        }

        private func clones(_ fixture: Fixture) async throws -> [String] {
            let names = try await fixture.zfs("list", "-H", "-o", "name", "-r", fixture.pool.name)
            return String(decoding: names, as: UTF8.self).split(separator: "\n").map(String.init)
                .filter { $0.contains("kairos-view") }
        }

        /// A clone that was busy when it was to go is removed by the next look.
        private func lookAgain(_ fixture: Fixture, _ path: String) async throws {
            let answer = try await KairosProcess.output(
                ["log", "--journal", "none", "--zfs-command", fixture.pool.command.zfs, path])
            #expect(try await clones(fixture) == [], "\(answer)")
        }

        @Test(
            "a zfs that does not answer is not waited for",
            .enabled(if: !OpenZFS.isInKernel, "only zfs-fuse needs clones"),
            arguments: [
                ("log", "clone", Signal.interrupt), ("cat", "clone", .terminate), ("deleted", "clone", .interrupt),
                ("restore", "clone", .terminate), ("restore", "get", .interrupt), ("diff", "destroy", .terminate),
                ("list", "list", .interrupt), ("list", "get", .terminate),
            ])
        func stuck(name: String, verb: String, signal: Signal) async throws {
            try await dataset("stuck") { fixture, live in
                try write("text", to: live + "/file")
                try await fixture.zfs("snapshot", fixture.name("stuck") + "@s")
                unlink(live + "/file")
                let zfs = try Stuck(verb, fixture)
                defer { zfs.remove() }
                let path = ["deleted", "list"].contains(name) ? live : live + "/file"
                let command = [name, "--journal", "none", "--zfs-command", zfs.path, path]
                try await KairosProcess.run(command) { kairos in
                    #expect(await wait(for: KairosProcess.patience) { zfs.pid != nil }, "\(kairos.transcript)")
                    try kairos.signal(signal)
                    let status = try await kairos.exit()
                    let number = signal == .interrupt ? SIGINT : SIGTERM
                    #expect(
                        status == .exited(128 + number) || status == .signaled(number),
                        "\(status)\n\(kairos.transcript)")
                    #expect(zfs.pid.map { kill($0, 0) } == 0, "it waited for zfs")
                }
                zfs.remove()
                try await lookAgain(fixture, live + "/file")
            }
        }

        @Test("a file that takes for ever to read, and a tree: nothing is left behind", arguments: ["diff", "restore"])
        func endless(command: String) async throws {
            try await dataset("endless") { fixture, live in
                // Both are holes alone, and differ in nothing that is looked at first but their times.
                try makeDirectory(live + "/d")
                for name in ["old", "new"] {
                    try write("", to: live + "/d/file")
                    try call("truncate", .text(live + "/d/file"), .number(1 << 42))
                    if name == "old" { try await fixture.zfs("snapshot", fixture.name("endless") + "@s") }
                    unlink(live + "/d/file" + (name == "old" ? "" : ".none"))
                }
                let arguments = [
                    command, "--journal", "none", "--zfs-command", fixture.pool.command.zfs, live + "/d",
                ]
                try await KairosProcess.run(arguments) { kairos in
                    // It reads once the file is open.
                    let isReading = await wait(for: KairosProcess.patience) {
                        guard let pid = kairos.pid else { return false }
                        return (0..<64).contains { number in
                            var target = [CChar](repeating: 0, count: Int(PATH_MAX))
                            guard readlink("/proc/\(pid)/fd/\(number)", &target, target.count - 1) > 0 else {
                                return false
                            }
                            return String(
                                decoding: target.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self
                            )
                            .hasSuffix("/d/file")
                        }
                    }
                    #expect(isReading, "\(kairos.transcript)")
                    try kairos.signal(.interrupt)
                    let status = try await kairos.exit()
                    #expect(
                        status == .exited(128 + SIGINT) || status == .signaled(SIGINT),
                        "\(status)\n\(kairos.transcript)")
                }
                try await lookAgain(fixture, live + "/d/file")
            }
        }

        @Test("a benchmark removes what it made", arguments: [Signal.interrupt, .terminate])
        func bench(signal: Signal) async throws {
            let parent = try Fixture.current().pool.directory
            let arguments = ["bench", "recovery", "--directory", parent, "--changes", "400000", "--rounds", "1000"]
            try await KairosProcess.run(arguments) { try await interrupt($0, by: signal, in: parent) }
        }

        /// The process that does the work, and its directory, once it has begun.
        private func worker(of bench: KairosProcess, in parent: String) async throws -> (pid: pid_t, directory: String)
        {
            var found: (pid_t, String)?
            let hasBegun = await wait(for: KairosProcess.patience) {
                guard let waiter = bench.pid, let worker = children(of: waiter).first else { return false }
                let directory = "\(parent)/kairos-bench-recovery-\(worker)"
                found = (worker, directory)
                return access(directory + "/journal.db", F_OK) == 0
            }
            #expect(hasBegun, "\(bench.transcript)")
            return try #require(found)
        }

        private func children(of pid: pid_t) -> [pid_t] {
            let text = (try? contents(of: "/proc/\(pid)/task/\(pid)/children")) ?? []
            return String(decoding: text, as: UTF8.self).split(separator: " ").compactMap { pid_t($0) }
        }

        private func interrupt(_ bench: KairosProcess, by signal: Signal, in parent: String) async throws {
            let (_, directory) = try await worker(of: bench, in: parent)
            try bench.signal(signal)
            let status = try await bench.exit()
            #expect(status == .exited(128 + signal.rawValue), "\(bench.transcript)")
            #expect(access(directory, F_OK) != 0 || bench.messages.contains("still cleaning up"), "\(bench.transcript)")
            #expect(await wait(for: KairosProcess.patience) { access(directory, F_OK) != 0 })
        }

        @Test("a benchmark whose clean-up does not end is not waited for, and cleans up")
        func benchStuck() async throws {
            let parent = try Fixture.current().pool.directory
            let arguments = ["bench", "recovery", "--directory", parent, "--changes", "400000", "--rounds", "1000"]
            let left = try await KairosProcess.run(arguments) { try await leave($0, in: parent) }
            #expect(await wait(for: KairosProcess.patience) { access(left, F_OK) != 0 })
        }

        /// Interrupts the benchmark while its worker stands still. Returns what the worker removes when it goes on.
        private func leave(_ bench: KairosProcess, in parent: String) async throws -> String {
            let (pid, directory) = try await worker(of: bench, in: parent)
            kill(pid, SIGSTOP)
            defer { kill(pid, SIGCONT) }
            try bench.signal(.interrupt)
            let status = try await bench.exit()
            #expect(status == .exited(128 + SIGINT), "\(bench.transcript)")
            #expect(bench.messages.contains("process \(pid) is still cleaning up"), "\(bench.transcript)")
            #expect(access(directory, F_OK) == 0)
            return directory
        }

        @Test("a benchmark ends, and cleans up, when the process that waits for it is killed")
        func benchKilled() async throws {
            let parent = try Fixture.current().pool.directory
            let arguments = ["bench", "recovery", "--directory", parent, "--changes", "400000", "--rounds", "1000"]
            try await KairosProcess.run(arguments) { try await killWaiter(of: $0, in: parent) }
        }

        private func killWaiter(of bench: KairosProcess, in parent: String) async throws {
            let (_, directory) = try await worker(of: bench, in: parent)
            try bench.signal(.kill)
            _ = try await bench.exit()
            #expect(await wait(for: KairosProcess.patience) { access(directory, F_OK) != 0 })
        }

        @Test("one signal that reaches a benchmark's both processes does not end its clean-up")
        func benchBoth() async throws {
            let parent = try Fixture.current().pool.directory
            let arguments = ["bench", "recovery", "--directory", parent, "--changes", "400000", "--rounds", "1000"]
            try await KairosProcess.run(arguments) { try await stopBoth(of: $0, in: parent) }
        }

        private func stopBoth(of bench: KairosProcess, in parent: String) async throws {
            let (pid, directory) = try await worker(of: bench, in: parent)
            kill(pid, SIGTERM)
            try bench.signal(.terminate)
            let status = try await bench.exit()
            #expect(status == .exited(128 + SIGTERM), "\(bench.transcript)")
            #expect(!bench.messages.contains("stopped before clean-up ended"), "\(bench.transcript)")
            #expect(await wait(for: KairosProcess.patience) { access(directory, F_OK) != 0 })
        }

        @Test("a benchmark cleans up though the process that has passed a signal on is killed")
        func benchKilledLater() async throws {
            let parent = try Fixture.current().pool.directory
            let arguments = ["bench", "recovery", "--directory", parent, "--changes", "400000", "--rounds", "1000"]
            try await KairosProcess.run(arguments) { try await killAfterSignal($0, in: parent) }
        }

        private func killAfterSignal(_ bench: KairosProcess, in parent: String) async throws {
            let (pid, directory) = try await worker(of: bench, in: parent)
            kill(pid, SIGSTOP)
            defer { kill(pid, SIGCONT) }
            try bench.signal(.interrupt)
            let isPassedOn = await wait(for: KairosProcess.patience) {
                let status = (try? contents(of: "/proc/\(pid)/status")).map { String(decoding: $0, as: UTF8.self) }
                let pending = status?.split(separator: "\n").first { $0.hasPrefix("ShdPnd:") }
                return pending?.last == "2"
            }
            #expect(isPassedOn, "\(bench.transcript)")
            try bench.signal(.kill)
            _ = try await bench.exit()
            kill(pid, SIGCONT)
            #expect(await wait(for: KairosProcess.patience) { access(directory, F_OK) != 0 })
        }

        @Test("a zfs destroy that does not answer is not waited for by prune")
        func prune() async throws {
            try await dataset("pruned") { fixture, _ in
                let name = fixture.name("pruned")
                for second in 1...3 {
                    try await fixture.zfs(
                        "snapshot", "-o", "kairos:trigger=quiet",
                        name + "@kairos-2026-01-01T00.00.0\(second).000Z")
                }
                // The rule keeps those of the last second.
                let taken = time(nil)
                #expect(await wait(for: KairosProcess.patience) { time(nil) > taken + 2 })
                let zfs = try Stuck("destroy", fixture)
                defer { zfs.remove() }
                let command = ["prune", "--keep", "1s=all", "--zfs-command", zfs.path, name]
                try await KairosProcess.run(command) { kairos in
                    let isWaiting = await wait(for: KairosProcess.patience) { zfs.pid != nil || kairos.isOver }
                    #expect(isWaiting && zfs.pid != nil, "\(kairos.transcript)")
                    try kairos.signal(.terminate)
                    let status = try await kairos.exit()
                    #expect(status == .exited(128 + SIGTERM), "\(status)\n\(kairos.transcript)")
                    #expect(zfs.pid.map { kill($0, 0) } == 0, "it waited for zfs")
                }
            }
        }
    }
}
