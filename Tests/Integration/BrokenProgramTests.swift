import BPF
import CBPFObjects
import Glibc
import SystemPackage
import Testing

@testable import Tracing

/// In which way a program is not to be had.
enum ProgramFault: CaseIterable {
    /// The kernel has no hook of that name.
    case hook
    /// It reads a field that the kernel does not have, so the verifier refuses it.
    case field
}

/// A kernel that some program does not suit costs what that program sees, and not more.
@Suite("Without one of its programs a set", .serialized)
struct BrokenProgramTests {
    /// A change of a file, as the programs reported it.
    private struct Sight: Hashable {
        var operation: UInt32
        var probe: Probe
    }

    private static let selection = {
        var selection = TraceSelection()
        selection.processes = [UInt32(getpid())]
        selection.followsChildren = true
        return selection
    }()

    private static func probes(
        _ set: ProbeSet, without name: String? = nil, by fault: ProgramFault = .hook
    ) throws(ProbeError) -> Probes {
        var programs = set.programs(for: selection)
        if fault == .hook, let index = programs.firstIndex(where: { $0.name == name }) {
            programs[index].hooks = [
                programs[index].isOnTracepoint ? .tracepoint("kairos_is_no_hook") : .function("kairos_is_no_hook")
            ]
        }
        return try Probes(
            set, programs, mode: .trace(selection), ringBytes: 1 << 20, poisoned: fault == .field ? name : nil)
    }

    /// What the set tells of everything that can be done to a file.
    private static func sights(_ probes: Probes) throws -> [Sight] {
        probes.watchSelf()
        var template = Array("/dev/shm/kairos-broken-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw CallError(call: "mkdtemp", errno: Errno(rawValue: errno)) }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { removeTree(directory) }
        var work = TraceDeeds(directory: directory)
        probes.ring.drain { _ in }
        try work.doAll(hasFailures: false)
        let thread = UInt32(try call("gettid"))
        var sights: [Sight] = []
        var decoder = RecordDecoder()
        probes.ring.drain { bytes in
            guard let record = decoder.decode(bytes), record.process.thread == thread else { return }
            sights.append(Sight(operation: record.operation.rawValue, probe: record.probe))
        }
        return sights
    }

    /// Of the sets that this kernel takes, what each sees when it is whole.
    private static let whole: [(set: ProbeSet, sights: [Sight])] = [ProbeSet.vfs, .syscalls].compactMap { set in
        guard let probes = try? probes(set), let sights = try? sights(probes) else { return nil }
        return (set, sights)
    }

    /// Each program of each set. In an emulated machine a set takes a quarter of a minute to load: each fault for every other one.
    static let broken: [(set: ProbeSet, program: String, fault: ProgramFault)] = whole.flatMap { set, _ in
        set.programs(for: selection).enumerated().flatMap { place, program in
            let faults = KernelReport.isWanted ? [ProgramFault.allCases[place % 2]] : ProgramFault.allCases
            return faults.map { (set, program.name, $0) }
        }
    }

    @Test("sees all that the others see, and says what it lacks", arguments: Self.broken.indices)
    func lacks(index: Int) throws {
        let (set, name, fault) = Self.broken[index]
        let program = try #require(set.programs(for: Self.selection).first { $0.name == name })
        let whole = try #require(Self.whole.first { $0.set == set }?.sights)
        #expect(Set(whole.map(\.operation)).count > 10)
        guard program.absence != .refusesSet else {
            #expect(throws: ProbeError.self) { _ = try Self.probes(set, without: name, by: fault) }
            return
        }
        let probes = try Self.probes(set, without: name, by: fault)
        let left = try Self.sights(probes)
        let lacking = try #require(probes.leftOut.first { $0.program == name }, "\(probes.leftOut)")
        #expect(fault == .hook || lacking.log.contains(name), "\(lacking.log)")

        let missed = Set(whole.map(\.probe)).subtracting(left.map(\.probe))
        #expect(missed.count <= 1)
        let expected = whole.filter { !missed.contains($0.probe) }
        if program.end == nil || !program.blindSpot.isEmpty {
            #expect(left == expected, "\(name), \(fault): \(probes.leftOut)")
        } else {
            // What it begins is reported in its parts too.
            #expect(Set(left).isSuperset(of: expected))
        }
        // What no other program of the set has seen is told; without a stand-in that is needed, of the one it stands in for.
        if left.count < whole.count {
            let told = program.standsInFor ?? name
            let missing = try #require(probes.leftOut.first { $0.program == told }, "\(probes.leftOut)")
            #expect(missing.isWorthAWarning || missing.hasStandIn || fault == .hook)
            #expect(!missing.blindSpot.isEmpty && probes.blindSpots.contains(missing.blindSpotAndReason))
        }
    }

    @Test("this kernel takes the sets that are to be broken")
    func taken() {
        let wanted: [ProbeSet] = KernelReport.isWanted ? [.vfs, .syscalls] : [.syscalls]
        #expect(Set(Self.whole.map(\.set)).isSuperset(of: wanted))
    }

    @Test("names the program that reads a field which this kernel does not have")
    func field() throws {
        var size = 0
        let address = kairos_object_programs(&size)
        var image = Array(UnsafeRawBufferPointer(start: address, count: size))
        // A name of the object's own types, which libbpf looks up in the kernel's.
        let (name, other) = (Array("\0cqe\0".utf8), Array("\0cqf\0".utf8))
        var changed = 0
        for place in 0..<image.count - name.count where image[place..<place + name.count].elementsEqual(name) {
            image.replaceSubrange(place..<place + name.count, with: other)
            changed += 1
        }
        #expect(changed > 0)
        let readers: Set = ["kairos_syscalls_io_uring", "kairos_syscalls_io_uring_submit"]
        do throws(BPFError) {
            let object = try BPFObject(image: image.span.bytes, name: "kairos")
            for program in ProbeSet.everyProgram {
                try object.setAutoload(program: program, program.hasPrefix("kairos_syscalls_"))
            }
            try object.load()
            Issue.record("it loads")
        } catch {
            #expect(error.program.map(readers.contains) == true, "\(error): \(error.log)")
            #expect(error.isOfProgram)
        }
    }
}

extension ProbeProgram {
    fileprivate var isOnTracepoint: Bool { if case .tracepoint = hooks[0] { true } else { false } }
}
