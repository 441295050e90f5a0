import CTestSupport
import Glibc

@testable import Tracing

/// The rows of docs/kernels.md, for `Tests/kernels`, and what they need to know of the kernel.
enum KernelReport {
    private static let variable = "KAIROS_KERNELS"

    /// Whether this machine is one of those of the table.
    static var isWanted: Bool { ReportRows.path(variable) != nil }

    static func add(_ set: ProbeSet, _ kind: String, _ name: String, _ state: String, _ detail: String) {
        add(set.rawValue, kind, name, state, detail)
    }

    /// - Parameter kind: `set`, `program` or `operations`.
    static func add(_ set: String, _ kind: String, _ name: String, _ state: String, _ detail: String) {
        ReportRows.add(variable, [KernelSupport.release, set, kind, name, state, detail])
    }

    /// Whether the program runs; nil where it is not in the kernel.
    static func hasRun(_ program: String, _ runs: [String: UInt64]) -> Bool? { runs[program].map { $0 > 0 } }

    /// How often each BPF program of the kernel, no matter whose, runs meanwhile.
    static func runs(_ body: () -> Void) -> [String: UInt64] {
        let counting = support_count_runs()
        defer { if counting >= 0 { close(counting) } }
        body()
        var result: [String: UInt64] = [:]
        var name = [CChar](repeating: 0, count: 64)
        var (program, count) = (0, UInt64(0))
        while true {
            program = support_next_program(UInt32(program), &name, &count)
            guard program >= 0 else { return result }
            let text = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            result[text, default: 0] += count
        }
    }
}
