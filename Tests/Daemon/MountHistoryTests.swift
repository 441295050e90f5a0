import Datasets
import Testing

@testable import Daemon

@Suite("Where mounts came and went of late")
struct MountHistoryTests {
    private func table(_ points: [String]) -> MountTable {
        MountTable(
            entries: points.enumerated().map { index, point in
                MountEntry(
                    mountID: Int32(index), parentID: 0, device: DeviceNumber(kernel: UInt32(index)), root: [0x2F],
                    mountPoint: Array(point.utf8), fsType: "ext4", source: [])
            })
    }

    private func history(_ before: [String], _ after: [String], heard: UInt64 = 100) -> MountHistory {
        var history = MountHistory()
        history.note(from: table(before), to: table(after), heard: heard)
        return history
    }

    private func changed(_ history: MountHistory, _ path: String, since: UInt64 = 100, orBelow: Bool = false) -> Bool {
        history.changed(since: since, at: Array(path.utf8), orBelow: orBelow)
    }

    @Test("a mount that came, and one that went", arguments: [(["/"], ["/", "/srv/x"]), (["/", "/srv/x"], ["/"])])
    func cameAndWent(before: [String], after: [String]) {
        let history = history(before, after)
        #expect(changed(history, "/srv/x"))
        #expect(changed(history, "/srv/x/deep/er"))
        #expect(!changed(history, "/srv"))
        #expect(changed(history, "/srv", orBelow: true))
        #expect(changed(history, "/", orBelow: true))
        #expect(!changed(history, "/srv/xy"))
        #expect(!changed(history, "/home", orBelow: true))
    }

    @Test("a call after the change was heard of found things as they are")
    func times() {
        let history = history(["/"], ["/", "/srv"])
        #expect(changed(history, "/srv", since: 0))
        #expect(!changed(history, "/srv", since: 101))
    }

    @Test("another mount at the same place is a change, the same one is none")
    func replaced() {
        #expect(changed(history(["/", "/a", "/b"], ["/", "/b", "/a"]), "/a"))
        #expect(!changed(history(["/", "/a"], ["/", "/a"]), "/a"))
        #expect(changed(history([], ["/"]), "/anything"))
    }

    @Test("old changes are forgotten; too many are not taken for none")
    func limits() {
        var history = history(["/"], ["/", "/old"])
        history.note(from: table(["/"]), to: table(["/", "/new"]), heard: 100_000_000_000)
        #expect(!changed(history, "/old"))
        #expect(changed(history, "/new"))
        let many = (0..<2000).map { "/many/\($0)" }
        history.note(from: table(["/"]), to: table(["/"] + many), heard: 100_000_000_001)
        #expect(many.allSatisfy { changed(history, $0, since: 100_000_000_001) })
        #expect(!changed(history, "/many/7", since: 100_000_000_002))
    }
}
