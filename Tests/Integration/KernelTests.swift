import BPF
import CTestSupport
import Datasets
import FoundationEssentials
import Glibc
import Subprocess
import SystemPackage
import Testing

@testable import Tracing

/// What the running kernel makes of the programs. It takes root and no ZFS, so a kernel for which there is no OpenZFS yet runs it too.
@Suite("On this kernel", .serialized)
struct KernelTests {
    static let sets: [ProbeSet] = (OpenZFS.isInKernel ? [.zfs] : []) + traced
    static let traced: [ProbeSet] = [.vfs, .syscalls]

    /// What came of loading each set, once: the verifier takes seconds in an emulated machine.
    private static let outcomes: [ProbeSet: Result<[LeftOutProgram], ProbeError>] = {
        var outcomes: [ProbeSet: Result<[LeftOutProgram], ProbeError>] = [:]
        for set in sets {
            do throws(ProbeError) {
                outcomes[set] = .success(try Probes(set, mode: .watch, ringBytes: 1 << 16).leftOut)
            } catch { outcomes[set] = .failure(error) }
        }
        return outcomes
    }()

    /// A kernel that refuses fentry altogether, as one under some hypervisors does, has only the set `syscalls`; and a zfs module
    /// that was built without types has no set `zfs`.
    private static func isAllowed(_ set: ProbeSet) -> Bool {
        switch outcomes[set] {
        case .failure(.noModuleBTF): false
        case .failure(.kernel(_, let reason)): set == .syscalls || reason.errno != .notPermitted
        default: true
        }
    }

    @Test("each probe set loads, attaches and fires, and lacks nothing", arguments: sets)
    func loads(set: ProbeSet) throws {
        guard Self.isAllowed(set) else { return }
        let leftOut = try #require(try Self.outcomes[set]?.get())
        #expect(leftOut.filter(\.isWorthAWarning).map(\.blindSpotAndReason) == [])
    }

    @Test("what functions return is known from the kernel's types")
    func returns() throws {
        // Noncopyable: it does not go into a macro.
        guard let types = KernelTypes() else { throw ProbeError.noBTF }
        let pointers = ["do_filp_open", "do_file_open", "vfs_write", "vfs_rename", "kairos_is_no_function"]
            .filter { types.returnsPointer($0) }
        #expect(pointers == ["do_filp_open"] || pointers == ["do_file_open"])
        let givesDentry = types.returnsPointer("vfs_mkdir")
        let numbers = KernelSupport.release.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
        try #require(numbers.count == 2)
        #expect(givesDentry == (numbers[0] * 1000 + numbers[1] >= 6015))
    }

    private struct Finding: Decodable {
        var status: String
        var subject: String
        var detail: String
    }

    @Test("kairos doctor finds no fault with the probes")
    func doctor() async throws {
        let output = try await KairosProcess.output(["doctor", "--json"])
        let findings = try JSONDecoder().decode([Finding].self, from: Data(output.stdout.utf8))
        let probes = findings.filter { $0.subject == "probes" }
        #expect(!probes.contains { $0.status == "problem" || $0.detail.contains("refuses the program") }, "\(output)")
        for set in Self.sets where Self.isAllowed(set) {
            #expect(probes.contains { $0.status == "ok" && $0.detail.hasPrefix("\(set.rawValue): ") }, "\(output)")
        }
    }

    @Test("each set shows each operation on files once", arguments: traced)
    func shows(set: ProbeSet) async throws {
        guard Self.isAllowed(set) else { return }
        // tmpfs has no writeback, and does not tell of its dirty pages; what an overlay does below itself is shown too.
        let hasWriteback = Self.type(of: "/root").map(["ext4", "xfs", "btrfs"].contains) ?? false
        var template = Array(((hasWriteback ? "/root" : "/dev/shm") + "/kairos-kernel-XXXXXX").utf8CString)
        try #require(mkdtemp(&template) != nil)
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { removeTree(directory) }
        var deeds: [TraceDeed] = []
        let options = ["--probes", set.rawValue, "--op", "all", "--failed", "--pid", "\(getpid())", directory]
        let lines = try await TraceRun.lines(options, in: directory) { _ in
            var work = TraceDeeds(directory: directory)
            try work.doAll(hasFailures: true)
            deeds = work.done
        }
        if !hasWriteback { deeds.removeAll { $0.op == "store" } }
        #expect(
            lines.map { "\($0.op) \($0.oldPath.map { $0 + " -> " } ?? "")\($0.path ?? "?")" }
                == deeds.map(\.description))
    }

    private static func type(of path: String) -> String? {
        var status = stat()
        guard stat(path, &status) == 0, let device = DeviceNumber(stDevice: UInt64(status.st_dev)) else { return nil }
        return try? MountTable.read().entries.first { $0.device == device }?.fsType
    }

    // MARK: What is no change

    /// Records of the set `syscalls` that this process's calls make meanwhile: those on paths and those that are not known.
    private static func candidates(_ body: () throws -> Void) throws -> [Record] {
        let probes = try Probes(.syscalls, mode: .watch, ringBytes: 1 << 20)
        try body()
        var records: [Record] = []
        probes.ring.drain { bytes in
            if let record = Record(bytes), record.kind == .candidate, record.process.pid == UInt32(getpid()) {
                records.append(record)
            }
        }
        return records
    }

    @Test("reads of io_submit(2), however many at once, are no change of anything", arguments: [1, 8, 9, 100])
    func asynchronousReads(count: CInt) throws {
        let file = support_memory_file()
        try #require(file >= 0)
        defer { close(file) }
        let records = try Self.candidates { #expect(support_aio_many(file, count, 0) == Int(count)) }
        #expect(records == [])
    }

    @Test("writes of io_submit(2) among many reads are known by their files", arguments: [9, 100])
    func asynchronousWrites(count: CInt) throws {
        let file = support_memory_file()
        try #require(file >= 0)
        defer { close(file) }
        let records = try Self.candidates { #expect(support_aio_many(file, count, count) == Int(count)) }
        // It lies in no watched dataset.
        #expect(records == [])
    }

    // MARK: Programs that do not load

    /// The programs of the set, one of them on another hook.
    private static func programs(_ name: String, on hook: ProbeProgram.Hook) -> [ProbeProgram] {
        ProbeSet.syscalls.programs.map { program in
            var program = program
            if program.name == name { program.hooks = [hook] }
            return program
        }
    }

    /// Hooks with fewer arguments than the program reads, which the verifier notices; one that takes an argument for what it is not;
    /// and one that there is not.
    static let broken: [(program: String, hook: ProbeProgram.Hook, isRefused: Bool)] = [
        ("syscalls__dirty_folio", .tracepoint("sched_process_fork"), true),
        ("syscalls__process_exit", .tracepoint("sys_enter"), true),
        ("syscalls__io_uring", .tracepoint("kairos_is_no_tracepoint"), false),
    ]

    @Test("a program that the kernel refuses, or has no hook for, costs only what it saw", arguments: broken.indices)
    func refused(index: Int) throws {
        let (name, hook, isRefused) = Self.broken[index]
        let probes = try Probes(
            .syscalls, Self.programs(name, on: hook), mode: .watch, ringBytes: 1 << 16)
        let lacking = try #require(probes.leftOut.first { $0.program == name })
        #expect(probes.leftOut.count == 1)
        let blindSpot = try #require(ProbeSet.syscalls.programs.first { $0.name == name }?.blindSpot)
        #expect(lacking.blindSpot == blindSpot && !blindSpot.isEmpty)
        #expect(lacking.isWorthAWarning == isRefused)
        if isRefused { #expect(lacking.log.contains(name), "\(lacking.log)") }
        #expect(probes.blindSpots.contains(lacking.blindSpotAndReason))
        #expect(probes.isComplete)
        // That the rest is there is what Probes() has tried: it made a call.
    }

    @Test("several refused programs are left out, one after the other")
    func several() throws {
        var programs = Self.programs("syscalls__dirty_folio", on: .tracepoint("sched_process_fork"))
        let other = Self.programs("syscalls__process_exit", on: .tracepoint("sys_enter"))
        programs = zip(programs, other).map { $1.name == "syscalls__process_exit" ? $1 : $0 }
        let probes = try Probes(.syscalls, programs, mode: .watch, ringBytes: 1 << 16)
        #expect(probes.leftOut.map(\.program) == ["syscalls__dirty_folio", "syscalls__process_exit"])
    }

    @Test("without the program that sees system calls there is no set syscalls")
    func vital() {
        #expect(throws: ProbeError.self) {
            _ = try Probes(
                .syscalls, Self.programs("syscalls__exit", on: .tracepoint("kairos_is_no_tracepoint")), mode: .watch)
        }
        #expect(throws: ProbeError.self) {
            _ = try Probes(
                .syscalls, Self.programs("syscalls__exit", on: .tracepoint("sched_process_exit")), mode: .watch)
        }
    }
}
