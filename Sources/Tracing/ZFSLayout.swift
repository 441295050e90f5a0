import BPF
import CBPFObjects
import Glibc

/// Where the zfs module's structures have the fields that the programs read, in bytes. For a module without BTF.
/// See docs/design.md, "A module without BTF".
struct ZFSLayout: Hashable, Sendable {
    /// `dsl_dataset_t.ds_dbuf`. What lies before it depends on the kernel's configuration.
    var datasetBuffer: UInt32
    /// `dmu_tx_t.tx_txg`.
    var transactionGroup: UInt32
    /// `dmu_tx_t.tx_holds.list_head`.
    var holds: UInt32

    /// What the programs have found so far. In each mask, bit n stands for the 8 bytes at 8n.
    struct Evidence: Hashable, Sendable {
        /// Words that led to the GUID of a watched dataset each time, the low ones first.
        var datasetWords: [UInt64]
        var datasetFinds: UInt64
        /// Words that had the number of the transaction group each time.
        var transactionGroupWords: UInt64
        var transactionFinds: UInt64
        /// Words at which an empty list began each time.
        var holdsWords: UInt64
    }
}

extension ZFSLayout {
    /// How many transactions, each of another group than the one before, have to agree. A small number can be the value of
    /// another field by chance; one that grows in step cannot.
    static let transactions: UInt64 = 2

    /// `tx_holds` is the first field of its structure. One that begins later is another list.
    private static let latestHolds: UInt32 = 16

    /// Nil until the evidence leaves exactly one place for each field.
    init?(_ evidence: Evidence) {
        guard evidence.datasetFinds > 0, evidence.transactionFinds >= Self.transactions,
            let buffer = Self.onlyWord(evidence.datasetWords),
            let txg = Self.onlyWord([evidence.transactionGroupWords]),
            evidence.holdsWords != 0
        else { return nil }
        let holds = UInt32(evidence.holdsWords.trailingZeroBitCount * 8)
        guard holds <= Self.latestHolds else { return nil }
        self.init(datasetBuffer: buffer, transactionGroup: txg, holds: holds)
    }

    private static func onlyWord(_ masks: [UInt64]) -> UInt32? {
        guard masks.reduce(0, { $0 + $1.nonzeroBitCount }) == 1, let index = masks.firstIndex(where: { $0 != 0 })
        else { return nil }
        return UInt32((index * 64 + masks[index].trailingZeroBitCount) * 8)
    }
}

/// How the programs of the set `zfs` find the fields of the module's structures.
enum ModuleAccess: Hashable, Sendable {
    /// By the module's BTF.
    case types
    /// By a search.
    case layout
    /// By these offsets, without any proof: for the test that wrong ones lose no change.
    case forged(ZFSLayout)

    var isByLayout: Bool { self != .types }

    /// What this host's module takes. For tests, `KAIROS_TEST_ZFS_LAYOUT` is `search`, or the three offsets with commas.
    static var ofThisHost: ModuleAccess {
        if let text = getenv("KAIROS_TEST_ZFS_LAYOUT").map({ String(cString: $0) }) {
            let numbers = text.split(separator: ",").compactMap { UInt32($0) }
            guard numbers.count == 3 else { return .layout }
            return .forged(ZFSLayout(datasetBuffer: numbers[0], transactionGroup: numbers[1], holds: numbers[2]))
        }
        return access(KernelSupport.moduleBTFPath, R_OK) == 0 ? .types : .layout
    }
}

/// `struct kairos_layout`.
struct LayoutTable: ~Copyable, Sendable {
    private let memory: MappedArray

    /// Before the programs are attached.
    init(_ memory: consuming MappedArray) {
        for word in 0..<Int(KAIROS_DATASET_WORDS) / 64 {
            memory.store64(.max, at: Self.offset(\.dataset_words) + word * 8)
        }
        memory.store64(.max, at: Self.offset(\.txg_words))
        memory.store64(.max, at: Self.offset(\.holds_words))
        self.memory = memory
    }

    var evidence: ZFSLayout.Evidence {
        ZFSLayout.Evidence(
            datasetWords: (0..<Int(KAIROS_DATASET_WORDS) / 64).map {
                memory.load64(at: Self.offset(\.dataset_words) + $0 * 8)
            },
            datasetFinds: memory.load64(at: Self.offset(\.dataset_finds)),
            transactionGroupWords: memory.load64(at: Self.offset(\.txg_words)),
            transactionFinds: memory.load64(at: Self.offset(\.txg_finds)),
            holdsWords: memory.load64(at: Self.offset(\.holds_words)))
    }

    /// The programs read by these offsets from now on; by none.
    func use(_ layout: ZFSLayout?) {
        if let layout {
            memory.store32(layout.datasetBuffer, at: Self.offset(\.ds_dbuf))
            memory.store32(layout.transactionGroup, at: Self.offset(\.tx_txg))
            memory.store32(layout.holds, at: Self.offset(\.tx_holds))
        }
        memory.store32(layout == nil ? 0 : 1, at: Self.offset(\.known))
    }

    /// How often a field could not be read, or could not be true: each may have been a change.
    var doubts: UInt64 { memory.load64(at: Self.offset(\.doubts)) }

    /// Changes of a slot's dataset that OpenZFS did not report, by the programs on the kernel's functions.
    func unreported(_ slot: Int) -> UInt64 { memory.load64(at: Self.offset(\.unreported) + slot * 8) }

    private static func offset(_ field: PartialKeyPath<kairos_layout>) -> Int {
        guard let offset = MemoryLayout<kairos_layout>.offset(of: field) else { preconditionFailure("not stored") }
        return offset
    }
}
