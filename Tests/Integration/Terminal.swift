import CTestSupport
import Glibc
import SystemPackage

/// A terminal of a test's own, 80 columns wide.
final class Terminal {
    private var master: FileDescriptor?
    /// The path of the end that a program has.
    let path: String
    private(set) var text = ""

    init() throws {
        var name = [CChar](repeating: 0, count: 64)
        let raw = support_terminal(&name, name.count)
        guard raw >= 0 else { throw Errno(rawValue: errno) }
        master = FileDescriptor(rawValue: raw)
        path = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { close() }

    /// Takes what was written meanwhile.
    func read() {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while let count = try? buffer.withUnsafeMutableBytes({ try master?.read(into: $0) ?? 0 }), count > 0 {
            text += String(decoding: buffer[..<count], as: UTF8.self)
        }
    }

    /// What happens when the window is closed or the connection is lost.
    func close() {
        try? master?.close()
        master = nil
    }
}
