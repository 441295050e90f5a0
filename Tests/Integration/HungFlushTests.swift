import CTestSupport
import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    @Suite(
        "A file system that does not answer", .enabled(if: access("/dev/fuse", F_OK) == 0, "no FUSE here"),
        .enabled(if: !OpenZFS.isInKernel, "beside OpenZFS a FUSE mount is no dataset"))
    struct HungFlushTests {
        @Test("the flush of one dataset is given up, and the others of its pool are snapshotted")
        func oneHangs() async throws {
            let fixture = try Fixture.current()
            let hung = fixture.name("hung")
            try await fixture.zfs("create", "-o", "mountpoint=none", hung)
            // Mounted by root, as zfs-fuse does it, with a server that answers nothing.
            let mount = try FalseMount(named: hung, by: SUPPORT_FUSE_ROOT)
            mount.hang()
            let options = ["--quiet", "100ms", "--min-interval", "50ms", "--max-delay", "1s", "--audit", "off"]
            try await KairosProcess.run(["run", "--json"] + options + [hung, fixture.name("a")]) { kairos in
                try await look(kairos, hung: hung, good: fixture.name("a"), fixture.path("a"))
                try kairos.signal(.terminate)
                let end = try await kairos.event("its end") { $0.event == "stopped" }
                #expect(end.summary?.leftAtRisk == [hung], "\(kairos.transcript)")
                // Not even SIGKILL ends a thread that waits for an answer to what the server has read.
                mount.end()
                #expect(try await kairos.exit() == .exited(1), "\(kairos.transcript)")
            }
        }

        private func look(_ kairos: KairosProcess, hung: String, good: String, _ path: String) async throws {
            // What may be mapped from before the watch is flushed before the first check.
            let warning = try await kairos.event("a warning") { $0.text?.contains("the flush timed out after") == true }
            #expect(warning.text?.contains(hung) == true)
            // ZFS cannot say that nothing changed: a difference counts, flush or not.
            try await kairos.event("its snapshot") { $0.event == "snapshot" && $0.dataset == hung }
            try await kairos.event("a look") { $0.dataset == good && $0.event != "failure" }
            let start = kairos.events.count
            try write("text", to: path + "/beside a hang")
            try await kairos.event("a snapshot", from: start) { $0.event == "snapshot" && $0.dataset == good }
        }
    }
}
