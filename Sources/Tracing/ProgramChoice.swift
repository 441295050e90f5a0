import BPF
import SystemPackage

/// Which programs of a set are loaded: those with a hook in this kernel, without those that the kernel has refused. Pure.
struct ProgramChoice {
    struct Wanted {
        var program: ProbeProgram
        var hook: FoundHook
    }

    /// A hook that this kernel has, and where it has the arguments that the program reads, by constant.
    struct FoundHook {
        var name: String
        var places: [(constant: String, place: UInt32)] = []
    }

    /// With more programs refused than that a set is not worth its name, and each costs one more pass through the verifier.
    static let patience = 8

    let set: ProbeSet
    private let all: [ProbeProgram]
    private(set) var wanted: [Wanted] = []
    /// Those that are not in use, in the order in which that was found.
    private var gone: [(program: ProbeProgram, reason: LeftOutProgram.Reason)] = []
    private var refusals = 0

    /// - Parameter hook: the hook of the program that this kernel has, nil if it has none.
    init(
        _ set: ProbeSet, _ programs: [ProbeProgram], hook: (ProbeProgram) -> FoundHook?
    ) throws(ProbeError) {
        self.set = set
        all = programs
        var missing: [String] = []
        for program in programs {
            if let found = hook(program) {
                wanted.append(Wanted(program: program, hook: found))
            } else if program.absence == .refusesSet {
                missing.append(program.hookNames)
            } else {
                gone.append((program, .noHook(program.hookNames)))
            }
        }
        guard missing.isEmpty else { throw .hooksMissing(set, missing) }
        dropBeginnings()
    }

    /// The names of the programs, those that begin what others end last: an end is to be there before its beginning. Without
    /// those that stand in for others.
    var attachOrder: [String] {
        let programs = wanted.map(\.program).filter { $0.standsInFor == nil }
        return (programs.filter { $0.end == nil } + programs.filter { $0.end != nil }).map(\.name)
    }

    /// Those to attach in the place of programs that are left out.
    var standInsForAbsent: [String] { standIns(for: gone.map(\.program.name)) }

    /// Those to attach too, where a test call did not reach these programs.
    func standIns(for silent: [String]) -> [String] {
        wanted.map(\.program).filter { $0.standsInFor.map(silent.contains) ?? false }.map(\.name)
    }

    /// These programs are attached, and a test call did not reach them. Throws where the set is nothing without one.
    mutating func noteSilent(_ names: [String]) throws(ProbeError) {
        let programs = names.map { name in wanted.first { $0.program.name == name }?.program }
        guard programs.allSatisfy({ $0 != nil && $0?.absence != .refusesSet }) else {
            throw .silent(set, programs: names)
        }
        gone += programs.compactMap { $0 }.map { ($0, .silent) }
    }

    func wants(_ name: String) -> Bool { wanted.contains { $0.program.name == name } }

    /// The kernel refused a program, at its load or its attachment: the others are loaded without it. Throws where the set is
    /// nothing without it, and where the error is none of the program's own.
    mutating func refuse(_ name: String?, _ error: BPFError) throws(ProbeError) {
        guard let index = wanted.firstIndex(where: { $0.program.name == name }), error.isOfProgram,
            wanted[index].program.absence != .refusesSet, refusals < Self.patience
        else { throw .kernel(set, error) }
        refusals += 1
        gone.append((wanted.remove(at: index).program, .refused(error)))
        dropBeginnings()
    }

    private mutating func dropBeginnings() {
        let names = Set(wanted.map(\.program.name))
        for item in wanted {
            guard let end = item.program.end, !names.contains(end) else { continue }
            wanted.removeAll { $0.program.name == item.program.name }
            gone.append((item.program, .noEnd(end)))
        }
    }

    /// Those that are not in use, and what is missed without each: nothing where another one stands in for it all.
    var leftOut: [LeftOutProgram] { gone.map { leftOut($0.program, $0.reason) } }

    private func leftOut(_ program: ProbeProgram, _ reason: LeftOutProgram.Reason) -> LeftOutProgram {
        var standIn: ProbeProgram?
        var blindSpot = program.blindSpot
        switch reason {
        case .noEnd: blindSpot = ""
        case .noHook where !program.isNeededWithoutHook: blindSpot = ""
        // A test call reaches neither: the other one is of no use.
        case .silent: break
        case .noHook, .refused:
            standIn = wanted.first { $0.program.standsInFor == program.name }?.program
            if let standIn { blindSpot = standIn.blindSpot }
        }
        // What is missed without a stand-in is said of the program that it stands in for, unless only a test call shows it.
        if program.standsInFor != nil {
            blindSpot = if case .silent = reason { original(of: program)?.blindSpot ?? "" } else { "" }
        }
        let isDetail = set == .zfs && program.name.hasPrefix("kairos_vfs_") && !blindSpot.isEmpty
        return LeftOutProgram(
            program: program.name, reason: reason,
            // OpenZFS itself says which dataset changed.
            blindSpot: isDetail ? "which file and which process, of \(blindSpot)" : blindSpot,
            prefersOtherSet: (original(of: program) ?? program).absence == .prefersOtherSet && !isDetail
                && !blindSpot.isEmpty && standIn == nil,
            hasStandIn: standIn != nil)
    }

    private func original(of program: ProbeProgram) -> ProbeProgram? {
        program.standsInFor.flatMap { name in all.first { $0.name == name } }
    }
}

extension ProbeProgram {
    /// `vfs_write()`, `do_filp_open() or do_file_open()`.
    var hookNames: String { hooks.map(\.description).joined(separator: " or ") }
}

extension BPFError {
    /// False where the kernel would refuse any program for it, for want of a permission or of memory.
    var isOfProgram: Bool { ![.notPermitted, .noMemory, .tooManyOpenFiles, .tooManyOpenFilesInSystem].contains(errno) }
}
