import BPF
import Glibc
import SystemPackage
import Tracing

extension Doctor {
    /// Writes a text file for a report of a fault with the probes: the kernel, what each program finds of its types, the verifier's logs.
    /// Names of files, datasets and the host are not in it.
    static func report(to path: String) throws {
        let file: FileDescriptor
        do {
            file = try FileDescriptor.open(
                FilePath(path), .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
                permissions: [.ownerReadWrite])
        } catch {
            throw Output.failure(
                error as? Errno == .fileExists
                    ? "--report \(path): it is there already; name another file" : "--report \(path): \(error)",
                status: 2)
        }
        do {
            try file.closeAfter { try write(to: file) }
        } catch { throw Output.failure("--report \(path): \(error)", status: 2) }
    }

    private static func write(to file: FileDescriptor) throws {
        func line(_ text: String) throws { _ = try file.writeAll((text + "\n").utf8) }
        try line("kairos \(Kairos.version), libbpf \(LibbpfReport.version)")
        var name = utsname()
        uname(&name)
        let machine = withUnsafeBytes(of: &name.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let build = withUnsafeBytes(of: &name.version) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        try line(
            "Linux \(KernelSupport.release) \(build) \(machine), zfs module \(KernelSupport.zfsModule ?? "not loaded")")
        for finding in kernel() + permissions() { try line(finding.text) }
        for set in ProbeSet.allCases {
            try line("\n== probe set \(set.rawValue)\n")
            let result: Result<Probes, ProbeError> = LibbpfReport.writing(to: file) {
                do throws(ProbeError) { return .success(try Probes(set, mode: .watch, ringBytes: 1 << 16)) } catch {
                    return .failure(error)
                }
            }
            try line("")
            switch result {
            case .failure(let error): try line("not in place: \(error)")
            case .success(let probes):
                try line("loads, attaches and fires")
                for program in probes.leftOut {
                    try line("without \(program.program): \(program)\(program.log.isEmpty ? "" : "\n" + program.log)")
                }
            }
        }
    }
}
