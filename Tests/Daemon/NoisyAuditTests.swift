import Datasets
import TestSupport
import Testing

@testable import Daemon
@testable import Tracing

/// With atime=on, reads alone keep `written` above 0. The audit must still find real changes.
@Suite("The audit of a dataset that is read all day")
struct NoisyAuditTests {
    /// - Parameter diff: what `zfs diff` does, in `sh`.
    private func audit(diff: String) async throws -> AttemptWork.Verdict {
        let memory = try SlotMemory()
        memory.table.reset(0, wakesAtCommit: false, wakesAtRecords: false)
        memory.table.setFlags(0, wakesAtCommit: false, wakesAtRecords: false, hasGroups: true)
        try memory.noise(0, in: 70)
        let fake = try FakeZFS()
        try fake.answer(
            #"case "$1" in get) echo tank/a@kairos-1;; diff) [ "$3 $4" = "tank/a@kairos-1 tank/a" ] || exit 3; "#
                + diff + ";; esac")
        let mounts = MountInfo(parsing: Array("30 1 0:40 / /tank/a rw - zfs tank/a rw\n".utf8))
        let mounted = try #require(MountTable(mounts, hasKernelZFS: true).dataset(named: "tank/a"))
        let job = AttemptWork.Job(
            guid: 1, serial: 1, dataset: "tank/a", mapped: MappedFiles(), mounted: mounted,
            groups: AttemptWork.Groups(slots: memory.table, slot: 0), lastTaken: nil, mustAsk: false, unreported: 0,
            slight: nil,
            upkeep: nil, properties: [])
        return await AttemptWork.verdict(ChangeCheck(fake.command(), flavour: .kernel), of: job, isAudit: true)
    }

    @Test(
        "what changed beside the access times is found",
        arguments: [
            (#"printf 'M\t/tank/a/file\n'"#, true), (#"printf '+\t/tank/a/new\n-\t/tank/a/old\n'"#, true),
            (#"printf 'M\t/tank/a/x(on_delete_queue)\n'"#, true), ("yes M", true),
            ("true", false), (#"printf '+\t/tank/a(on_delete_queue)\n'"#, false),
        ])
    func found(diff: String, isChange: Bool) async throws {
        let outcome = try await audit(diff: diff).outcome
        guard case .verdict(let verdict) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(verdict == (isChange ? .changed : .unchanged(.noise)))
    }

    @Test("a zfs diff that fails makes the check fail")
    func failed() async throws {
        guard case .failed = try await audit(diff: "echo no >&2; exit 1").outcome else {
            Issue.record("it passes for a check")
            return
        }
    }
}
