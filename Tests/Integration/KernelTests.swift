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

    /// A set in place, and what its programs did when files were changed.
    private struct Loaded {
        var leftOut: [LeftOutProgram]
        /// Of each program in use.
        var hooks: [String: String]
        /// How often each program of the kernel ran, by the name that the kernel has of it.
        var runs: [String: UInt64]
    }

    /// What came of loading each set, once: the verifier takes seconds in an emulated machine.
    private static let outcomes: [ProbeSet: Result<Loaded, ProbeError>] = {
        var outcomes: [ProbeSet: Result<Loaded, ProbeError>] = [:]
        for set in sets {
            do throws(ProbeError) {
                let probes = try Probes(set, mode: .watch, ringBytes: 1 << 16)
                let runs = KernelReport.runs {
                    for place in places {
                        guard let directory = try? makeDirectory(in: place) else { continue }
                        _ = try? doAll(in: directory, type: place.type)
                        removeTree(directory)
                    }
                }
                outcomes[set] = .success(Loaded(leftOut: probes.leftOut, hooks: probes.hooks, runs: runs))
            } catch { outcomes[set] = .failure(error) }
        }
        return outcomes
    }()

    /// A kernel that refuses fentry altogether, as one under some hypervisors does, has only the set `syscalls`; and a zfs module
    /// that was built without types has no set `zfs`. The kernels of docs/kernels.md have to take every set.
    private static func isAllowed(_ set: ProbeSet) -> Bool {
        switch outcomes[set] {
        case .failure(.noModuleBTF): false
        case .failure(.kernel(_, let reason)):
            set == .syscalls || reason.errno != .notPermitted || KernelReport.isWanted
        default: true
        }
    }

    @Test("each probe set loads, attaches and fires, and lacks nothing", arguments: sets)
    func loads(set: ProbeSet) throws {
        guard Self.isAllowed(set) else { return }
        let outcome = try #require(Self.outcomes[set])
        if case .failure(let error) = outcome { KernelReport.add(set, "set", "-", "refused", error.description) }
        let loaded = try outcome.get()
        for program in set.programs { Self.report(program, of: loaded, as: set) }
        #expect(loaded.leftOut.filter(\.isWorthAWarning).map(\.blindSpotAndReason) == [])
        // Before 6.6 no program goes on a function of more than six arguments (473e3150e30a).
        for replaced in loaded.leftOut where replaced.hasStandIn {
            guard replaced.program == "kairos_vfs_setxattr", case .refused(let error) = replaced.reason else {
                Issue.record("\(replaced)")
                continue
            }
            #expect(error.errno.rawValue == 524)
            #expect(loaded.hooks["kairos_vfs_setxattr_call"] != nil)
        }
        let first = set == .syscalls ? "kairos_syscalls_exit" : "kairos_vfs_write"
        #expect((loaded.runs[first] ?? 0) > 0, "\(loaded.runs)")
    }

    @Test("without a zfs module the set zfs says so", .enabled(if: !OpenZFS.isInKernel))
    func noModule() {
        do throws(ProbeError) {
            _ = try Probes(.zfs, mode: .watch)
            Issue.record("it loads")
        } catch {
            guard case .noModule = error else {
                Issue.record("\(error)")
                return
            }
            KernelReport.add(.zfs, "set", "-", "not here", error.description)
        }
    }

    private static func report(_ program: ProbeProgram, of loaded: Loaded, as set: ProbeSet) {
        let name = program.name
        func add(_ state: String, _ detail: String = "") {
            KernelReport.add(set, "program", name, state, detail)
        }
        if let absent = loaded.leftOut.first(where: { $0.program == name }) {
            switch absent.reason {
            case .noHook(let hook): add(absent.blindSpot.isEmpty ? "not needed" : "no hook", "has no \(hook)")
            case .noEnd(let end): add("not needed", "\(end) is not in use")
            case .silent: add("silent", "attached, and never called")
            case .refused(let error): add("refused", "\(error)")
            }
        } else if let hook = loaded.hooks[name] {
            let isSibling = hook != program.hooks[0].name
            add(KernelReport.hasRun(name, loaded.runs) == true ? "ran" : "attached", isSibling ? hook : "")
        } else {
            add("not needed", "stands in for \(program.standsInFor ?? "another"), which runs")
        }
    }

    @Test("what functions return is known from the kernel's types")
    func returns() throws {
        // Noncopyable: it does not go into a macro.
        guard let types = KernelTypes() else { throw ProbeError.noBTF }
        let pointers = ["do_filp_open", "do_file_open", "vfs_write", "vfs_rename", "kairos_is_no_function"]
            .filter { types.returnsPointer($0) }
        #expect(pointers == ["do_filp_open"] || pointers == ["do_file_open"])
        let givesDentry = types.returnsPointer("vfs_mkdir")
        #expect(givesDentry == KernelSupport.isAtLeast(6, 15))
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

    /// File systems on which this can make a directory: one in memory, and one that writes pages back: in the guests ext4.
    private static let places: [(type: String, parent: String)] = ["/dev/shm", "/root"].compactMap { parent in
        guard let type = type(of: parent), ["tmpfs", "ext4", "xfs", "btrfs"].contains(type) else { return nil }
        return (type, parent)
    }

    private static func makeDirectory(in place: (type: String, parent: String)) throws -> String {
        var template = Array((place.parent + "/kairos-kernel-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw CallError(call: "mkdtemp", errno: Errno(rawValue: errno)) }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Does everything that there is to do in a directory.
    private static func doAll(in directory: String, type: String) throws -> [TraceDeed] {
        var work = TraceDeeds(directory: directory)
        // The failures take a program more, which takes long to check.
        try work.doAll(hasFailures: !KernelReport.isWanted)
        // tmpfs has no writeback, and does not tell of its dirty pages.
        return work.done.filter { $0.op != "store" || type != "tmpfs" }
    }

    @Test("each set shows each operation on files once, on tmpfs and on a disk", arguments: traced)
    func shows(set: ProbeSet) async throws {
        guard Self.isAllowed(set) else { return }
        if KernelReport.isWanted { #expect(Self.places.map(\.type) == ["tmpfs", "ext4"]) }
        let directories = try Self.places.map(Self.makeDirectory)
        defer { directories.forEach(removeTree) }
        let first = try #require(directories.first)
        var options = ["--probes", set.rawValue, "--op", "all", "--pid", "\(getpid())", "--follow"]
        if !KernelReport.isWanted { options.append("--failed") }
        var (done, runs): ([[TraceDeed]], [String: UInt64]) = ([], [:])
        let lines = try await TraceRun.lines(options + directories, in: first, isChecked: !KernelReport.isWanted) { _ in
            runs = KernelReport.runs {
                done = zip(directories, Self.places).compactMap { try? Self.doAll(in: $0, type: $1.type) }
            }
        }
        let shown = lines.map { "\($0.op) \($0.oldPath.map { $0 + " -> " } ?? "")\($0.path ?? "?")" }
        for (index, deeds) in done.enumerated() {
            let names = deeds.map(\.description)
            #expect(names.count > 20)
            let seen = shown.filter { $0.contains(directories[index]) }
            let count = names.count - seen.difference(from: names).removals.count
            KernelReport.add(set, "operations", Self.places[index].type, "\(count) of \(names.count)", "")
        }
        #expect(shown == done.joined().map(\.description))
        #expect(done.count == directories.count)
        Self.reportTrace(set, runs)
    }

    /// The programs that only a trace has: whether they are in the kernel meanwhile, and ran.
    private static func reportTrace(_ set: ProbeSet, _ runs: [String: UInt64]) {
        var selection = TraceSelection()
        selection.processes = [UInt32(getpid())]
        selection.followsChildren = true
        let others = Set(set.programs.map(\.name))
        for program in set.programs(for: selection) where !others.contains(program.name) {
            let state = KernelReport.hasRun(program.name, runs).map { $0 ? "ran" : "attached" } ?? "not in use"
            KernelReport.add("\(set.rawValue), trace", "program", program.name, state, "")
        }
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
        ("kairos_syscalls_dirty_folio", .tracepoint("sched_process_fork"), true),
        ("kairos_syscalls_process_exit", .tracepoint("sys_enter"), true),
        ("kairos_syscalls_io_uring", .tracepoint("kairos_is_no_tracepoint"), false),
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
        var programs = Self.programs("kairos_syscalls_dirty_folio", on: .tracepoint("sched_process_fork"))
        let other = Self.programs("kairos_syscalls_process_exit", on: .tracepoint("sys_enter"))
        programs = zip(programs, other).map { $1.name == "kairos_syscalls_process_exit" ? $1 : $0 }
        let probes = try Probes(.syscalls, programs, mode: .watch, ringBytes: 1 << 16)
        #expect(probes.leftOut.map(\.program) == ["kairos_syscalls_dirty_folio", "kairos_syscalls_process_exit"])
    }

    @Test("without the program that sees system calls there is no set syscalls")
    func vital() {
        #expect(throws: ProbeError.self) {
            _ = try Probes(
                .syscalls, Self.programs("kairos_syscalls_exit", on: .tracepoint("kairos_is_no_tracepoint")),
                mode: .watch)
        }
        #expect(throws: ProbeError.self) {
            _ = try Probes(
                .syscalls, Self.programs("kairos_syscalls_exit", on: .tracepoint("sched_process_exit")), mode: .watch)
        }
    }

    // MARK: The last one

    /// It cannot be undone, so it runs in the machines without OpenZFS alone, and nothing may come after it: it is the last in this file.
    @Test("a kernel in lockdown", .enabled(if: KernelReport.isWanted))
    func lockdown() async throws {
        _ = mount("none", "/sys/kernel/security", "securityfs", 0, nil)
        try write("confidentiality", to: "/sys/kernel/security/lockdown")
        #expect(KernelSupport.lockdown == "confidentiality")
        for options in [[], ["--probes", "syscalls"]] {
            let (status, messages) = try await ForbiddenTests.trace(by: [], options)
            #expect(status == .exited(1))
            let says = "the kernel is in lockdown (confidentiality): eBPF programs may not read its memory"
            #expect(messages == "kairos: \(says); boot without lockdown=confidentiality; lockdown=integrity is fine\n")
        }
    }
}
