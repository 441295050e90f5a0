import Snapshots
import Testing
import Tracing

@testable import Daemon

@Suite struct ChangeSummaryTests {
    private func actor(_ pid: UInt32) -> ChangeSummary.Actor {
        ChangeSummary.Actor(pid: pid, user: 0, command: Array("vi".utf8))
    }

    private func path(_ number: Int) -> [UInt8] { Array("f\(number)".utf8) }

    @Test func aFileCreatedAndWrittenIsOnePath() {
        var summary = ChangeSummary()
        summary.add(.create, path: path(1), actor: actor(1))
        summary.add(.write, path: path(1), actor: actor(1))
        #expect(summary.paths == [path(1)])
        #expect(summary.morePaths == 0)
        #expect(summary.counts.description == "create=1 write=1")
        #expect(summary.actors == [actor(1)])
    }

    @Test func beyondTheSamplesOnlyCountsGrow() {
        var summary = ChangeSummary()
        for number in 0..<12 { summary.add(.write, path: path(number), actor: actor(UInt32(number))) }
        summary.add(.unlink, path: nil, actor: actor(0))
        #expect(summary.paths == (0..<ChangeSummary.samples).map(path))
        #expect(summary.morePaths == 12 - ChangeSummary.samples + 1)
        #expect(summary.actors.count == ChangeSummary.samples)
        #expect(summary.hasMoreActors)
        #expect(summary.counts[.write] == 12)
    }

    @Test func whatChangesNothingIsNotCounted() {
        var summary = ChangeSummary()
        summary.add(.close, path: path(1), actor: actor(1))
        summary.add(.map, path: path(1), actor: actor(1))
        summary.add(.sync, path: path(1), actor: actor(1))
        #expect(summary.isEmpty)
        #expect(summary.paths.isEmpty)
    }

    @Test func joiningKeepsTheEarlierOnesFirst() {
        var earlier = ChangeSummary()
        for number in 0..<3 { earlier.add(.write, path: path(number), actor: actor(1)) }
        earlier.lostRecords = 2
        var later = ChangeSummary()
        for number in 2..<9 { later.add(.create, path: path(number), actor: actor(2)) }
        let joined = ChangeSummary.joined(earlier, later)
        #expect(joined.paths == (0..<ChangeSummary.samples).map(path))
        // f2 is named by both; f3 and f4 found room; f5 and f6 were named by the later one, f7 and f8 only counted.
        #expect(joined.morePaths == 4)
        #expect(joined.counts.description == "create=7 write=3")
        #expect(joined.actors == [actor(1), actor(2)])
        #expect(joined.lostRecords == 2)
    }
}
