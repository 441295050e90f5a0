import CTestSupport
import Datasets
import Glibc
import Scratch
import Subprocess
import Synchronization
import SystemPackage
import Testing

/// A FUSE mount with the name of a dataset, and its server.
///
/// Unchecked, since the pointer is not Sendable: the C functions behind it use atomics, and `isOver` lets one call end it.
final class FalseMount: @unchecked Sendable {
    let directory: String
    private let server: OpaquePointer
    private let isOver = Atomic(false)

    init(named name: String, by mounter: support_fuse_mounter) throws {
        let directory = "/tmp/kairos-test-fuse-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try makeDirectory(directory)
        try #require(mounter != SUPPORT_FUSE_USER || chown(directory, 65534, 65534) == 0)
        guard let server = support_fuse_mount(name, directory, mounter) else {
            let reason = Errno(rawValue: errno)
            rmdir(directory)
            throw KairosError(description: "no FUSE mount on \(directory): \(reason)")
        }
        (self.directory, self.server) = (directory, server)
    }

    /// Of Kairos.
    var requests: UInt32 { support_fuse_requests(server) }

    /// From now on its server answers no request of Kairos.
    func hang() { support_fuse_hang(server) }

    /// Ends the server, and with it the mount. Requests that wait for an answer fail.
    func end() {
        guard !isOver.exchange(true, ordering: .relaxed) else { return }
        support_fuse_end(server)
        rmdir(directory)
    }

    deinit { end() }
}

extension IntegrationTests {
    @Suite("FUSE mounts with the name of a dataset", .enabled(if: access("/dev/fuse", F_OK) == 0, "no FUSE here"))
    struct FalseMountTests {
        private static let mounters =
            ([SUPPORT_FUSE_USER_FOR_ALL] + (support_has_fusermount() ? [SUPPORT_FUSE_USER] : [])).map(\.rawValue)

        private func dataset(_ name: String, _ body: (Fixture) async throws -> Void) async throws {
            let fixture = try Fixture.current()
            do { try await body(fixture) } catch {
                try? await fixture.patiently("destroy", "-r", fixture.name(name))
                throw error
            }
            try await fixture.patiently("destroy", "-r", fixture.name(name))
        }

        private func look(_ fixture: Fixture, _ arguments: String...) async throws -> (
            status: TerminationStatus, stdout: String, stderr: String
        ) {
            try await KairosProcess.output(
                arguments.prefix(1) + ["--zfs-command", fixture.pool.command.zfs] + arguments.dropFirst())
        }

        @Test(
            "a user's: the dataset is watched, looked at and restored, and the mount is left alone",
            arguments: mounters)
        func user(mounter: UInt32) async throws {
            let name = "false-\(mounter)"
            try await dataset(name) { fixture in
                // Made first: of two devices the lower number is as a rule its.
                let mount = try FalseMount(named: fixture.name(name), by: support_fuse_mounter(mounter))
                try await fixture.zfs("create", fixture.name(name))
                let path = fixture.path(name) + "/file"
                try await KairosProcess.run(["run", "--json"] + .prompt + [fixture.name(name)]) { kairos in
                    try await kairos.ready()
                    let warnings = kairos.events.filter { $0.event == "warning" }.compactMap(\.text)
                    #expect(warnings.count { $0.contains("user 65534 on \(mount.directory)") } == 1, "\(warnings)")
                    try write("content\n", to: path)
                    try await kairos.event("the write") { $0.changes?["write"] == 1 }
                    try call("unlinkat", .here, .text(path), 0)
                    let snapshot = try await kairos.event("the deletion") { $0.changes?["unlink"] == 1 }
                    #expect(snapshot.dataset == fixture.name(name))
                    #expect(try await kairos.stop().status.isSuccess, "\(kairos.transcript)")
                }
                for command in ["log", "cat", "restore"] {
                    let result = try await look(fixture, command, "--journal", "none", path)
                    #expect(result.status.isSuccess, "\(command): \(result.stderr)")
                    if command == "cat" { #expect(result.stdout == "content\n") }
                }
                #expect(try contents(of: path) == Array("content\n".utf8))
                #expect(mount.requests == 0)
                let inside = try await look(fixture, "log", "--journal", "none", mount.directory + "/file")
                #expect(!inside.status.isSuccess)
            }
        }

        @Test(
            "one of root's beside zfs-fuse's own: neither is used, both are named, audits go on, and it ends with the mount",
            .enabled(if: !OpenZFS.isInKernel, "beside OpenZFS it is no claimant"))
        func root() async throws {
            let name = "false-root"
            try await dataset(name) { fixture in
                var mount: FalseMount? = try FalseMount(named: fixture.name(name), by: SUPPORT_FUSE_ROOT)
                let directory = try #require(mount?.directory)
                try await fixture.zfs("create", fixture.name(name))
                let path = fixture.path(name) + "/file"
                let options = .prompt + ["--audit", "1s", fixture.name(name)]
                try await KairosProcess.run(["run", "--json"] + options) { kairos in
                    try await kairos.ready()
                    let warnings = kairos.events.filter { $0.event == "warning" }.compactMap(\.text)
                    #expect(
                        warnings.count { $0.contains(directory) && $0.contains(fixture.path(name)) } == 1, "\(warnings)"
                    )
                    var start = kairos.claim().start
                    try write("content", to: path)
                    // By an audit, or by a check that something else on this machine led to.
                    try await kairos.event("a snapshot without word of a probe", from: start) {
                        $0.event == "snapshot" && $0.changes == [:] && ["audit", "check"].contains($0.trigger)
                    }
                    for command in ["log", "cat", "restore"] {
                        let result = try await look(fixture, command, "--journal", "none", path)
                        #expect(!result.status.isSuccess, "\(command): \(result.stdout)")
                        #expect(
                            result.stderr.contains(directory) && result.stderr.contains("device"), "\(result.stderr)")
                    }
                    #expect(mount?.requests == 0)
                    mount = nil
                    start = kairos.claim().start
                    // Until the end of the mount has come to it, it is an audit that finds the change.
                    var number = 0
                    let isSeen = try await wait(for: KairosProcess.patience) {
                        number += 1
                        try write("content \(number)", to: path)
                        try await Task.sleep(for: .milliseconds(300))
                        return kairos.events.dropFirst(start).contains { $0.changes?["write"] != nil }
                    }
                    #expect(isSeen, "\(kairos.transcript)")
                    #expect(try await kairos.stop().status.isSuccess, "\(kairos.transcript)")
                }
            }
        }
    }
}
