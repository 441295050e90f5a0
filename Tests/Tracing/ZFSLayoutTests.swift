import BPF
import SystemPackage
import Testing

@testable import Tracing

@Suite("Where a zfs module without BTF has its fields")
struct ZFSLayoutTests {
    /// What a search finds in OpenZFS 2.1: `tx_holds` at 16, a second empty list behind it, and `tx_txg` at 56.
    private static let found = ZFSLayout.Evidence(
        datasetWords: [1 << 41, 0], datasetFinds: 1, transactionGroupWords: 1 << 7, transactionFinds: 2,
        holdsWords: 1 << 2 | 1 << 14)

    private static func evidence(_ change: (inout ZFSLayout.Evidence) -> Void) -> ZFSLayout.Evidence {
        var evidence = found
        change(&evidence)
        return evidence
    }

    @Test("one place for each field is a layout")
    func found() {
        #expect(
            ZFSLayout(Self.found) == ZFSLayout(datasetBuffer: 41 * 8, transactionGroup: 56, holds: 16))
        let far = Self.evidence { $0.datasetWords = [0, 1 << 3] }
        #expect(ZFSLayout(far)?.datasetBuffer == 536)
    }

    @Test(
        "whatever leaves a doubt is none",
        arguments: [
            evidence { $0.datasetFinds = 0 },
            evidence { $0.datasetWords = [0, 0] },
            evidence { $0.datasetWords = [1 << 41, 1] },
            evidence { $0.datasetWords = [.max, .max] },
            evidence { $0.transactionFinds = 1 },
            evidence { $0.transactionGroupWords = 0 },
            evidence { $0.transactionGroupWords = 1 << 7 | 1 << 9 },
            evidence { $0.holdsWords = 0 },
            // The list of callbacks alone.
            evidence { $0.holdsWords = 1 << 14 },
        ])
    func doubtful(evidence: ZFSLayout.Evidence) {
        #expect(ZFSLayout(evidence) == nil)
    }

    @Test("a module without BTF has a program for each that the set has with it, and two searches")
    func programs() throws {
        let types = ProbeSet.zfs.programs(.types).map(\.name)
        let layout = ProbeSet.zfs.programs(.layout).map(\.name)
        #expect(types == ProbeSet.zfs.programs.map(\.name))
        let searches = ["kairos_zfs_find_dataset", "kairos_zfs_find_txg", "kairos_zfs_find_txg_entry"]
        let twins = layout.filter { !searches.contains($0) }.map { $0.hasSuffix("_by") ? String($0.dropLast(3)) : $0 }
        #expect(Set(twins) == Set(types) && twins.count == types.count)
        #expect(searches.allSatisfy(layout.contains))
        #expect(ProbeSet.everyProgram.isSuperset(of: layout))
        for set in [ProbeSet.vfs, .syscalls] { #expect(set.programs(.layout).map(\.name) == set.programs.map(\.name)) }
    }

    @Test(
        "a set that cannot search is refused",
        arguments: ["kairos_zfs_find_dataset", "kairos_zfs_find_txg", "kairos_zfs_dirty_by"])
    func vital(program: String) throws {
        var choice = try ProgramChoice(.zfs, ProbeSet.zfs.programs(.layout)) { .init(name: $0.hooks[0].name) }
        let error = BPFError(operation: "attach", subject: program, errno: .noSuchFileOrDirectory, log: "")
        #expect(throws: ProbeError.self) { try choice.refuse(program, error) }
    }
}
