import Datasets
import Glibc
import Scratch
import Subprocess
import Testing

/// A call of `kairos run` that must be refused in one line.
struct Refusal: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// `POOL` stands for the pool's name, `DIR` for its directory.
    var arguments: [String]
    /// What the line must hold: the thing that is wrong, and the remedy.
    var words: [String]

    init(_ description: String, _ arguments: [String], _ words: String...) {
        testDescription = description
        self.arguments = arguments
        self.words = words
    }

    static let all: [Refusal] =
        [
            Refusal("unknown dataset", ["POOL/nowhere"], "POOL/nowhere"),
            Refusal("unknown pool", ["nowhere/a"], "nowhere/a"),
            Refusal("both of two are unknown", ["POOL/no", "POOL/nowhere"], "POOL/no"),
            Refusal("one of two is no name", ["POOL/a", "POOL//b"], "POOL//b"),
            Refusal("a snapshot", ["POOL/a@monday"], "POOL/a@monday", "snapshot"),
            Refusal("a path", ["DIR/mnt/a"], "DIR/mnt/a"),
            Refusal("an illegal name", ["POOL/a//b"], "POOL/a//b"),
            Refusal("a name with a terminal escape", ["POOL/\u{1B}[2J"], #"\u{1B}[2J"#),
            Refusal("an empty name", [""]),
            Refusal("not mounted", ["POOL/unmounted"], "POOL/unmounted", "not mounted", "zfs mount"),
            Refusal("no mount point", ["POOL/none"], "POOL/none", "not mounted", "mountpoint"),
            Refusal("not mounted or unknown", ["POOL/nowhere", "POOL/unmounted"], "POOL/unmounted", "not mounted"),
            Refusal("named twice", ["POOL/a", "POOL/a"], "twice"),
            Refusal("malformed --quiet", ["--quiet", "soon", "POOL/a"], "--quiet", "soon"),
            Refusal("--max-delay without a unit", ["--max-delay", "30", "POOL/a"], "--max-delay", "30"),
            Refusal("negative --min-interval", ["--min-interval=-1s", "POOL/a"], "--min-interval", "-1s"),
            Refusal("quiet above max-delay", ["--quiet", "1m", "--max-delay", "1s", "POOL/a"], "quiet", "max-delay"),
            Refusal("--min-interval of nothing", ["--min-interval", "0s", "POOL/a"], "min-interval"),
            Refusal("malformed glob", ["--ignore", "[a-", "POOL/a"], "--ignore", "[a-"),
            Refusal("malformed prefix", ["--prefix", "a@b", "POOL/a"], "--prefix", "'@'"),
            Refusal("unknown probes", ["--probes", "magic", "POOL/a"], "--probes", "magic", "syscalls"),
            Refusal("unknown engine", ["--engine", "magic", "POOL/a"], "--engine", "magic", "libzfs-core"),
            Refusal("a ring that is too large", ["--ring-bytes", "4294967296", "POOL/a"], "--ring-bytes"),
            Refusal(
                "a foreign journal", ["--journal", "DIR/only-zfs", "POOL/a"], "not an SQLite database", "--journal"),
            Refusal("-r without a dataset", ["-r"], "-r"),
            Refusal("no zfs command", ["--zfs-command", "DIR/none", "POOL/a"], "DIR/none"),
            Refusal("nothing enabled", ["--zfs-command", "DIR/only-zfs"], "kairos:enabled=on", "zfs set"),
        ]
        // zfs-fuse has no libzfs_core.
        + (access("/sys/module/zfs", F_OK) == 0
            ? [] : [Refusal("no libzfs_core", ["--engine", "libzfs-core", "POOL/a"], "libzfs-core", "modprobe zfs")])
}

extension IntegrationTests {
    @Suite("What cannot be done is refused in one line, and nothing is started")
    struct RefusalTests {
        @Test("bad arguments", arguments: Refusal.all)
        func refused(_ refusal: Refusal) async throws {
            let fixture = try Fixture.current()
            let fill = { (text: String) in
                text.replacing("POOL", with: fixture.pool.name).replacing("DIR", with: fixture.pool.directory)
            }
            if refusal.arguments.contains("POOL/unmounted"), !(try await has("unmounted", fixture)) {
                try await fixture.zfs("create", fixture.name("unmounted"))
                try await fixture.patiently("unmount", fixture.name("unmounted"))
            }
            if refusal.arguments.contains("POOL/none"), !(try await has("none", fixture)) {
                try await fixture.zfs("create", "-o", "mountpoint=none", fixture.name("none"))
            }
            if refusal.arguments.contains("DIR/only-zfs") {
                try FakeZFS(for: fixture, in: fixture.pool.directory, called: "only-zfs").set(.only)
            }
            let before = try await fixture.snapshots(of: "a")
            let output = try await KairosProcess.output(["run", "--json"] + refusal.arguments.map(fill))
            expectRefusal(output, words: refusal.words.map(fill))
            #expect(try await fixture.snapshots(of: "a") == before)
        }

        private func has(_ dataset: String, _ fixture: Fixture) async throws -> Bool {
            let names = try await fixture.zfs("list", "-H", "-o", "name", "-r", fixture.pool.name)
            return String(decoding: names, as: UTF8.self).split(separator: "\n").contains {
                $0 == fixture.name(dataset)
            }
        }

        private func expectRefusal(
            _ output: (status: TerminationStatus, stdout: String, stderr: String), words: [String],
            sourceLocation: SourceLocation = #_sourceLocation
        ) {
            #expect(!output.status.isSuccess, "\(output)", sourceLocation: sourceLocation)
            if case .signaled = output.status { Issue.record("\(output)", sourceLocation: sourceLocation) }
            #expect(output.stdout.isEmpty, "\(output)", sourceLocation: sourceLocation)
            let lines = output.stderr.split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines.count == 2 && lines.last == "", "one line: \(output)", sourceLocation: sourceLocation)
            #expect(lines[0].hasPrefix("kairos: "), "\(output)", sourceLocation: sourceLocation)
            for word in words {
                #expect(output.stderr.contains(word), "'\(word)' in: \(output)", sourceLocation: sourceLocation)
            }
            let scalars = output.stderr.unicodeScalars.filter { $0 != "\n" }
            #expect(scalars.allSatisfy(SafeText.isPrintable), "\(output)", sourceLocation: sourceLocation)
        }

        @Test("a dataset that another Kairos watches")
        func second() async throws {
            let fixture = try Fixture.current()
            let name = fixture.name("b")
            try await KairosProcess.run(["run", "--json"] + .prompt + [name]) { first in
                try await first.ready()
                let pid = try #require(first.pid)
                let output = try await KairosProcess.output(["run", "--json", name])
                expectRefusal(output, words: [name, "\(pid)"])
                // A rehearsal locks nothing.
                for arguments in [["run", "--json", fixture.name("a")], ["run", "--json", "--dry-run", name]] {
                    try await KairosProcess.run(arguments + .prompt) { other in
                        try await other.ready()
                        #expect(try await other.stop().status.isSuccess)
                    }
                }
            }
        }

        @Test("another user than root")
        func notRoot() async throws {
            let fixture = try Fixture.current()
            // It may read every file all the same: the executable's directory may be root's alone.
            let wrapper = [
                "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_read_search",
                "--ambient-caps=+dac_read_search",
            ]
            expectRefusal(
                try await KairosProcess.output(["run", fixture.name("a")], wrapper: wrapper), words: ["root", "sudo"])
        }

        /// Runs a line of shell in a mount namespace of its own, then the command.
        private func without(_ line: String) -> [String] {
            [
                "/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", line + "\nexec \"$@\"",
                "sh",
            ]
        }

        @Test("a kernel without BTF")
        func noBTF() async throws {
            let fixture = try Fixture.current()
            let wrapper = without("mount -t tmpfs none /sys/kernel/btf")
            expectRefusal(
                try await KairosProcess.output(["run", fixture.name("a")], wrapper: wrapper), words: ["BTF"])
        }

        @Test("without tracefs it works all the same")
        func noTracefs() async throws {
            let fixture = try Fixture.current()
            let wrapper = without(
                "for i in /sys/kernel/debug/tracing /sys/kernel/tracing /sys/kernel/debug; do umount $i 2>/dev/null; done"
            )
            let command = ["run", "--json"] + .prompt + [fixture.name("a"), fixture.sentinel]
            try await KairosProcess.run(command, wrapper: wrapper) { kairos in
                try await kairos.ready()
                _ = try await kairos.onlySnapshot(of: "a", in: fixture) {
                    try call("mkdirat", .here, .text(fixture.path("a") + "/no-tracefs"), 0o755)
                }
                #expect(try await kairos.stop().status.isSuccess)
            }
        }
    }
}
