import Datasets
import TestSupport
import Testing

@testable import Recovery

/// What `cat`, `diff` and `restore` take when no version is named.
@Suite("The newest version that differs")
struct FindingTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    /// Whether a state of a path has anything that is missing or different in another one.
    private func wouldRestore(_ path: [UInt8], _ old: HistoryModel.Tree, _ new: HistoryModel.Tree) -> Bool {
        old.contains { key, node in
            PathBytes.isWithin(key, path) && (new[key]?.kind != node.kind || new[key]?.mode != node.mode)
        }
    }

    private func expected(_ path: [UInt8], _ model: HistoryModel) -> Int? {
        model.snapshots.indices.last { index in
            model.snapshots[index][path] != nil
                && (model.live[path] == nil || wouldRestore(path, model.snapshots[index], model.live))
        }
    }

    @Test(
        "in a random past is the one that the model says, also with what was written down",
        arguments: TestSeeds.of(0..<300))
    func model(seed: UInt64) throws {
        let past = RandomPast(seed: seed, foreign: true)
        let (plain, recorded) = (FakeStore(past.model), FakeStore(past.model))
        for path in past.paths {
            let named = SafeText.line(path)
            let found = Result { try FileHistory.find(nil, of: path, from: plain) }
            let again = Result { try FileHistory.find(nil, of: path, from: recorded, history: past.history) }
            guard let place = expected(path, past.model) else {
                for result in [found, again] {
                    switch result {
                    case .success(let version):
                        // Under a name that it had before.
                        let old = past.model.snapshots[version.snapshot][version.path]
                        #expect(version.path != path && old?.kind != nil, "\(named)")
                        #expect(past.model.live[path] != nil, "\(named)")
                    case .failure(let error):
                        let isSeen = past.model.snapshots.contains { $0[path] != nil }
                        let fault = try #require(error as? SelectionFault)
                        #expect(fault.isAsItWas || !isSeen, "\(named): \(fault)")
                    }
                }
                continue
            }
            for result in [found, again] {
                let version = try result.get()
                #expect(version.path == path && version.snapshot == place, "\(named)")
            }
        }
        #expect(recorded.looks.count <= plain.looks.count)
    }

    @Test("of a directory is the one before the damage, though a later snapshot has the damage too")
    func directory() throws {
        var model = HistoryModel()
        for name in ["d", "d/e"] { model.apply(.mkdir(bytes(name))) }
        for name in ["d/e/1", "d/e/2"] { model.apply(.write(bytes(name), bytes(name))) }
        model.snapshot()  // 0
        model.apply(.remove(bytes("d/e/2")))
        model.snapshot()  // 1: with the damage
        model.apply(.write(bytes("d/new"), [1]))
        model.snapshot()  // 2: and something else
        model.snapshot()  // 3
        let store = FakeStore(model)
        for name in ["d", "d/e"] {
            #expect(try FileHistory.find(nil, of: bytes(name), from: store).snapshot == 0, "\(name)")
        }
        let fault = #expect(throws: SelectionFault.self) {
            try FileHistory.find(nil, of: self.bytes("d/e/1"), from: store)
        }
        #expect(
            fault?.isAsItWas == true && fault?.description.contains("no snapshot has a version that differs") == true)
        // What is there now alone is no reason to restore.
        #expect(throws: SelectionFault.self) { try FileHistory.find(nil, of: self.bytes("d/new"), from: store) }
    }

    @Test("a file that was replaced by the same is none, nor is one with other times")
    func replaced() throws {
        var model = HistoryModel()
        model.apply(.write(bytes("f"), [1, 2]))
        model.snapshot()  // 0
        model.apply(.replace(bytes("f"), [1, 2]))
        model.snapshot()  // 1: another inode
        model.apply(.write(bytes("f"), [1, 2]))
        #expect(throws: SelectionFault.self) {
            try FileHistory.find(nil, of: self.bytes("f"), from: FakeStore(model))
        }
        model.snapshot()  // 2: other times
        model.apply(.chmod(bytes("f"), 0o600))
        model.snapshot()  // 3
        #expect(try FileHistory.find(nil, of: bytes("f"), from: FakeStore(model)).snapshot == 2)
    }

    @Test("of many paths takes one look into each snapshot, and with what was written down into few")
    func looks() throws {
        var model = HistoryModel()
        var history = FakeHistory()
        let paths = (0..<20).map { bytes("f\($0)") }
        for path in paths { model.apply(.write(path, path)) }
        func snapshot() {
            history.known["s\(model.snapshots.count)"] = true
            model.snapshot()
        }
        for _ in 0..<20 { snapshot() }
        for path in paths {
            history.note(.remove(path), model, snapshot: "s20", Timestamp(milliseconds: 1))
            model.apply(.remove(path))
        }
        for _ in 0..<100 { snapshot() }
        let store = FakeStore(model)
        func looks(_ history: FakeHistory?) throws -> Int {
            let before = store.looks.count { $0 != .live }
            for result in try FileHistory.find(nil, of: paths, from: store, history: history) {
                #expect(try result.get().snapshot == 19)
            }
            return store.looks.count { $0 != .live } - before
        }
        #expect(try looks(nil) == 101)
        #expect(try looks(history) <= 4)
    }

    @Test("of what was deleted costs no more with what was written down than without")
    func deletions() throws {
        var model = HistoryModel()
        var history = FakeHistory()
        let paths = (0..<200).map { bytes("f\($0)") }
        for path in paths { model.apply(.write(path, path)) }
        func snapshot() {
            history.known["s\(model.snapshots.count)"] = true
            model.snapshot()
        }
        for _ in 0..<3 { snapshot() }
        for path in paths {
            history.note(.remove(path), model, snapshot: "s3", Timestamp(milliseconds: 1))
            model.apply(.remove(path))
        }
        for _ in 0..<3 { snapshot() }
        func statuses(_ history: FakeHistory?) throws -> Int {
            let store = FakeStore(model)
            let deleted = try DeletedFiles.read(below: [], from: store, history: history, all: true)
            #expect(
                deleted.entries.map(\.path).sorted { $0.lexicographicallyPrecedes($1) }
                    == paths.sorted { $0.lexicographicallyPrecedes($1) })
            return store.reads.statuses
        }
        let (recorded, plain) = (try statuses(history), try statuses(nil))
        #expect(recorded <= plain)
    }
}
