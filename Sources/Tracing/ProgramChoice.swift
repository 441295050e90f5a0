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
    private(set) var leftOut: [LeftOutProgram] = []
    private var refusals = 0

    /// - Parameter hook: the hook of the program that this kernel has, nil if it has none.
    init(
        _ set: ProbeSet, _ programs: [ProbeProgram], hook: (ProbeProgram) -> FoundHook?
    ) throws(ProbeError) {
        self.set = set
        all = programs
        var missing: [String] = []
        var absent: [ProbeProgram] = []
        for program in programs {
            if let found = hook(program) {
                wanted.append(Wanted(program: program, hook: found))
            } else if program.absence == .refusesSet {
                missing.append(program.hookNames)
            } else {
                absent.append(program)
            }
        }
        for program in absent {
            leaveOut(
                program, .noHook(program.hookNames), blindSpot: program.isNeededWithoutHook ? program.blindSpot : "")
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
    var standInsForAbsent: [String] { standIns(for: leftOut.map(\.program)) }

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
        for case let program? in programs { leaveOut(program, .silent, blindSpot: program.blindSpot) }
    }

    func wants(_ name: String) -> Bool { wanted.contains { $0.program.name == name } }

    /// The kernel refused a program, at its load or its attachment: the others are loaded without it. Throws where the set is
    /// nothing without it, and where the error is none of the program's own.
    mutating func refuse(_ name: String?, _ error: BPFError) throws(ProbeError) {
        guard let index = wanted.firstIndex(where: { $0.program.name == name }), error.isOfProgram,
            wanted[index].program.absence != .refusesSet, refusals < Self.patience
        else { throw .kernel(set, error) }
        refusals += 1
        let program = wanted.remove(at: index).program
        leaveOut(program, .refused(error), blindSpot: program.blindSpot)
        dropBeginnings()
    }

    private mutating func dropBeginnings() {
        let names = Set(wanted.map(\.program.name))
        for item in wanted {
            guard let end = item.program.end, !names.contains(end) else { continue }
            wanted.removeAll { $0.program.name == item.program.name }
            leaveOut(item.program, .noEnd(end), blindSpot: "")
        }
    }

    /// What is not seen without the program, and whether another one stands in for it.
    private func missed(
        without program: ProbeProgram, _ reason: LeftOutProgram.Reason, _ blindSpot: String
    ) -> (String, standsIn: Bool) {
        if let original = program.standsInFor {
            // Nobody misses one that is not needed.
            return (all.first { $0.name == original && !wants(original) }?.blindSpot ?? "", false)
        }
        // Where a test call reaches neither, the other one is of no use.
        if case .silent = reason { return (blindSpot, false) }
        let standIn = wanted.first { $0.program.standsInFor == program.name }?.program
        return (standIn?.blindSpot ?? blindSpot, standIn != nil)
    }

    private mutating func leaveOut(_ program: ProbeProgram, _ reason: LeftOutProgram.Reason, blindSpot: String) {
        let (blindSpot, standsIn) = missed(without: program, reason, blindSpot)
        let isDetail = set == .zfs && program.name.hasPrefix("kairos_vfs_") && !blindSpot.isEmpty
        leftOut.append(
            LeftOutProgram(
                program: program.name, reason: reason,
                // OpenZFS itself says which dataset changed.
                blindSpot: isDetail ? "which file and which process, of \(blindSpot)" : blindSpot,
                prefersOtherSet: program.absence == .prefersOtherSet && !isDetail && !standsIn))
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
