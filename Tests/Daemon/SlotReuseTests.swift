import CBPFObjects
import CLinux
import Datasets
import Glibc
import Snapshots
import TestSupport
import Testing

@testable import BPF
@testable import Daemon
@testable import Tracing

@Suite("A slot that goes to another dataset")
struct SlotReuseTests {
    @Test("a change that OpenZFS did not report is asked about, whatever transaction groups say")
    func unreported() async throws {
        let memory = try SlotMemory()
        let fake = try FakeZFS()
        // More than 64 KiB: for less a second question follows.
        try fake.answer(#"if [ "$1" = get ]; then echo 1000000; fi"#)
        memory.table.reset(3, wakesAtCommit: false, wakesAtRecords: false)
        memory.table.setFlags(3, wakesAtCommit: false, wakesAtRecords: false, hasGroups: true)
        try memory.dirty(3, in: 500)
        memory.table.raiseCaptured(3, to: 500)
        let check = ChangeCheck(fake.command(), flavour: .kernel)
        func verdict(after unreported: UInt64) async -> ChangeVerdict? {
            let job = AttemptWork.Job(
                guid: 1, serial: 1, dataset: "tank/a", mapped: MappedFiles(), mounted: nil,
                groups: AttemptWork.Groups(slots: memory.table, slot: 3), lastTaken: nil, mustAsk: false,
                unreported: unreported, slight: nil, upkeep: nil, properties: [])
            let result = await AttemptWork.check(job, by: check, isAudit: false, flush: nil)
            if case .verdict(let verdict) = result.outcome { return verdict } else { return nil }
        }
        #expect(await verdict(after: 0) == .unchanged(.groups))
        try memory.leaveUnreported(3)
        #expect(await verdict(after: 0) == .changed)
        #expect(await verdict(after: 1) == .unchanged(.groups), "that one was asked about")
        #expect(memory.table.groups(4).unreported == 0)
    }

    @Test("the answer of a check that began before captures nothing of the new one")
    func lateCheck() async throws {
        let memory = try SlotMemory()
        let fake = try FakeZFS()
        try fake.answer(
            #"if [ "$1" = get ]; then : >"$dir/asked"; while [ ! -e "$dir/go" ]; do sleep 0.01; done; echo 0; fi"#)
        func take(_ slot: Int) {
            memory.table.reset(slot, wakesAtCommit: false, wakesAtRecords: false)
            memory.table.setFlags(slot, wakesAtCommit: false, wakesAtRecords: false, hasGroups: true)
        }
        take(3)
        try memory.dirty(3, in: 500)
        let job = AttemptWork.Job(
            guid: 1, serial: 1, dataset: "tank/old", mapped: MappedFiles(), mounted: nil,
            groups: AttemptWork.Groups(slots: memory.table, slot: 3), lastTaken: nil, mustAsk: true, slight: nil,
            upkeep: nil, properties: [])
        let check = ChangeCheck(fake.command(), flavour: .kernel)
        let answer = Task { await AttemptWork.check(job, by: check, isAudit: false, flush: nil) }
        for _ in 0..<12_000 where access(fake.directory + "/asked", F_OK) != 0 {
            try await Task.sleep(for: .milliseconds(5))
        }
        // The dataset is left, and another one gets its slot, with a change in an earlier group of its own pool.
        take(3)
        try memory.dirty(3, in: 400)
        try fake.write("go", "")
        let result = await answer.value
        #expect(result.captured == 500)
        #expect(memory.table.groups(3).captured == 0)
        #expect(memory.table.groups(3).isDirty, "a change of another dataset passes for captured")
    }

    @Test("what an attempt learned of groups counts from the moment on that only ZFS's own figures tell")
    func outdated() {
        let info = DatasetInfo(name: "tank/a", kind: .filesystem, guid: 1, properties: [:])
        let reading = SlotReading(
            epoch: 1, isDirty: false, first: 0, last: 0, lastCommit: 0, begun: 0, changes: 0, lost: 0, early: 0,
            hidden: 0, groups: nil)
        let dataset = WatchedDataset(
            info: info, slot: 0, lock: nil, settings: DatasetSettings.read(info, SettingsOverrides()).0,
            reading: reading, now: 0)
        func attempt(at time: UInt64) -> WatchedDataset.Attempt {
            WatchedDataset.Attempt(
                serial: 1, isCheck: true, started: time, epoch: 1, trigger: .check, summary: ChangeSummary(),
                mapped: MappedFiles(), changes: 0, hidden: 0, epochStarted: 0, isAudit: false,
                detail: WatchedDataset.Detail())
        }
        #expect(dataset.isOfNow(attempt(at: 5)))
        dataset.mustAskSince = 10
        #expect(!dataset.isOfNow(attempt(at: 9)), "its pool may have been imported at an earlier group since")
        #expect(dataset.isOfNow(attempt(at: 10)))
    }
}
