import BPF
import SystemPackage
import Testing

@testable import Tracing

@Suite("Which programs of a probe set are loaded")
struct ProgramChoiceTests {
    private static func refusal(_ program: String, _ errno: Int32 = 22) -> BPFError {
        BPFError(
            operation: "load", subject: "kairos", errno: .init(rawValue: errno),
            log: """
                libbpf: prog 'kairos_syscalls_exit': something that is no failure
                libbpf: prog '\(program)': BPF program load failed: Invalid argument
                libbpf: prog '\(program)': -- BEGIN PROG LOAD LOG --
                0: R1=ctx() R10=fp0
                libbpf: failed to load object 'kairos'

                """)
    }

    private static func choice(_ set: ProbeSet, without hooks: Set<String> = []) throws(ProbeError) -> ProgramChoice {
        try ProgramChoice(set, set.programs) { program in
            program.hooks.first { !hooks.contains($0.name) }.map { .init(name: $0.name) }
        }
    }

    @Test("libbpf's last message on a program says which one was refused")
    func named() {
        #expect(Self.refusal("kairos_vfs_link").program == "kairos_vfs_link")
        #expect(
            BPFError(operation: "load", subject: "kairos", errno: .invalidArgument, log: "libbpf: no").program == nil)
    }

    @Test("without a refusal every program is wanted", arguments: ProbeSet.allCases)
    func whole(set: ProbeSet) throws {
        let choice = try Self.choice(set)
        #expect(choice.wanted.map(\.program.name) == set.programs.map(\.name))
        #expect(choice.leftOut.isEmpty)
        #expect(Set(choice.attachOrder) == Set(set.programs.filter { $0.standsInFor == nil }.map(\.name)))
    }

    @Test(
        "each program that the kernel refuses costs itself, or the set where it is nothing without",
        arguments: ProbeSet.allCases)
    func each(set: ProbeSet) throws {
        let vital: Set = ["kairos_syscalls_exit", "kairos_vfs_write", "kairos_zfs_dirty", "kairos_zfs_snapshot"]
        for program in set.programs {
            var choice = try Self.choice(set)
            let error = Self.refusal(program.name)
            guard !vital.contains(program.name) else {
                #expect(throws: ProbeError.self) { try choice.refuse(error.program, error) }
                continue
            }
            try choice.refuse(error.program, error)
            let gone = [program.name] + set.programs.filter { $0.end == program.name }.map(\.name)
            #expect(choice.leftOut.map(\.program) == gone)
            #expect(choice.wanted.map(\.program.name) == set.programs.map(\.name).filter { !gone.contains($0) })
            let standIn = set.programs.first { $0.standsInFor == program.name }
            let missed = program.standsInFor != nil ? "" : standIn?.blindSpot ?? program.blindSpot
            #expect(
                choice.leftOut[0].blindSpot.hasSuffix(missed) && choice.leftOut[0].blindSpot.isEmpty == missed.isEmpty)
            #expect(choice.leftOut[0].isWorthAWarning == (!missed.isEmpty && standIn == nil))
            #expect(choice.leftOut[0].hasStandIn == (standIn != nil))
            #expect(choice.standInsForAbsent == [standIn?.name].compactMap { $0 })
        }
    }

    @Test("without its stand-in, too, all that a program sees is missed")
    func bothGone() throws {
        for order in [
            ["kairos_vfs_setxattr", "kairos_vfs_setxattr_call"], ["kairos_vfs_setxattr_call", "kairos_vfs_setxattr"],
        ] {
            var choice = try Self.choice(.vfs)
            for name in order { try choice.refuse(name, Self.refusal(name)) }
            #expect(choice.standInsForAbsent == [])
            let original = try #require(choice.leftOut.first { $0.program == "kairos_vfs_setxattr" })
            #expect(original.blindSpot == "extended attributes that are set")
            #expect(original.prefersOtherSet && original.isWorthAWarning && !original.hasStandIn)
            #expect(choice.leftOut.filter { !$0.blindSpot.isEmpty }.count == 1)
        }
    }

    @Test("a beginning is not attached before its end, and not left behind without it")
    func beginnings() throws {
        var choice = try Self.choice(.zfs)
        let order = choice.attachOrder
        for program in ProbeSet.zfs.programs {
            guard let end = program.end else { continue }
            #expect(try #require(order.firstIndex(of: end)) < #require(order.firstIndex(of: program.name)))
        }
        let error = Self.refusal("kairos_zfs_atime")
        try choice.refuse(error.program, error)
        #expect(!choice.wants("kairos_zfs_atime_entry"))
    }

    @Test("a program that a test call does not reach costs what it saw, and another may stand in for it")
    func silent() throws {
        var choice = try Self.choice(.vfs)
        #expect(choice.standIns(for: ["kairos_vfs_mkdir"]) == [])
        #expect(choice.standIns(for: ["kairos_vfs_fsync"]) == ["kairos_vfs_fsync_call"])
        try choice.noteSilent([])
        #expect(choice.leftOut.isEmpty)
        try choice.noteSilent(["kairos_vfs_fsync", "kairos_vfs_mkdir"])
        #expect(choice.leftOut.map(\.program) == ["kairos_vfs_fsync", "kairos_vfs_mkdir"])
        #expect(choice.leftOut.map(\.isWorthAWarning) == [true, true])
        #expect(choice.leftOut.map(\.prefersOtherSet) == [false, true])
        // It is there all the same, for the calls that do reach it.
        #expect(choice.wants("kairos_vfs_mkdir"))
        #expect(throws: ProbeError.self) { try choice.noteSilent(["kairos_vfs_write"]) }
        #expect(throws: ProbeError.self) { try choice.noteSilent(["none (fstat)"]) }
    }

    @Test("what lacks permission or memory, and too much that is refused, refuses the set")
    func hopeless() throws {
        var choice = try Self.choice(.vfs)
        for errno: Int32 in [1, 12] {
            let error = Self.refusal("kairos_vfs_link", errno)
            #expect(throws: ProbeError.self) { try choice.refuse(error.program, error) }
        }
        #expect(throws: ProbeError.self) { try choice.refuse(nil, Self.refusal("kairos_vfs_link")) }
        #expect(throws: ProbeError.self) { try choice.refuse("kairos_vfs_unknown", Self.refusal("kairos_vfs_unknown")) }
        let optional = ProbeSet.vfs.programs.filter { $0.absence != .refusesSet && $0.end == nil }.map(\.name)
        for name in optional.prefix(ProgramChoice.patience) { try choice.refuse(name, Self.refusal(name)) }
        let next = optional[ProgramChoice.patience]
        #expect(throws: ProbeError.self) { try choice.refuse(next, Self.refusal(next)) }
    }

    @Test("a hook that other kernels call otherwise is found by its other name")
    func renamedHook() throws {
        let old = try Self.choice(.vfs)
        #expect(old.wanted.first { $0.program.name == "kairos_vfs_open" }?.hook.name == "do_filp_open")
        let new = try Self.choice(.vfs, without: ["do_filp_open"])
        #expect(new.leftOut.isEmpty)
        #expect(new.wanted.first { $0.program.name == "kairos_vfs_open" }?.hook.name == "do_file_open")
        let neither = try Self.choice(.vfs, without: ["do_filp_open", "do_file_open"])
        let lacking = try #require(neither.leftOut.first)
        #expect(lacking.isWorthAWarning)
        #expect(
            lacking.blindSpotAndReason
                == "files that open(2) makes: this kernel has no do_filp_open() or do_file_open() for the program kairos_vfs_open"
        )
        #expect(try Self.choice(.vfs, without: ["vfs_set_acl"]).leftOut.allSatisfy { !$0.isWorthAWarning })
        #expect(throws: ProbeError.self) { try Self.choice(.syscalls, without: ["sys_exit"]) }
    }

    @Test("OpenZFS itself still reports what a program of the set zfs would have detailed")
    func detail() throws {
        for set in [ProbeSet.zfs, .vfs] {
            var choice = try Self.choice(set)
            try choice.refuse("kairos_vfs_symlink", Self.refusal("kairos_vfs_symlink"))
            #expect(choice.leftOut.map(\.prefersOtherSet) == [set == .vfs])
            let what = set == .vfs ? "new symbolic links" : "which file and which process, of new symbolic links"
            #expect(choice.leftOut.map(\.blindSpot) == [what])
        }
    }
}
