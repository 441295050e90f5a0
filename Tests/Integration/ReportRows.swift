import Datasets
import Glibc
import SystemPackage

/// What tests leave for the tables in docs: lines of fields, separated by tabs, in the file that a variable of the environment names.
enum ReportRows {
    static func path(_ variable: String) -> String? { getenv(variable).map { String(cString: $0) } }

    /// Of each field the first line. Without the variable nothing is left.
    static func add(_ variable: String, _ fields: [String]) {
        guard let path = path(variable) else { return }
        let line = fields.map { SafeText.line($0.split(separator: "\n").first.map(String.init) ?? "") }
            .joined(separator: "\t")
        guard
            let file = try? FileDescriptor.open(
                FilePath(path), .writeOnly, options: [.create, .append], permissions: .ownerReadWrite)
        else { return }
        _ = try? file.closeAfter { try file.writeAll((line + "\n").utf8) }
    }
}
