import SystemPackage

/// Why the kernel or libbpf refused something: what was tried, on what, the error number, and libbpf's own words.
public struct BPFError: Error, Sendable, CustomStringConvertible {
    /// What was tried, as a phrase: `"load the program"`.
    public var operation: String
    /// The program, map or object that it was tried on.
    public var subject: String
    /// libbpf returns negative error numbers; here it is positive.
    public var errno: Errno
    /// libbpf's messages, the verifier's log among them. Empty when it said nothing. May be 32 KB.
    public var log: String

    public init(operation: String, subject: String, errno: Errno, log: String) {
        self.operation = operation
        self.subject = subject
        self.errno = errno
        self.log = log
    }

    public var description: String {
        "cannot \(operation) \(subject): \(reason) (error \(errno.rawValue))" + (hint.map { "; \($0)" } ?? "")
    }

    /// The error number in words. The kernel's ENOTSUPP is not one of user space's.
    public var reason: String { errno.rawValue == 524 ? "not supported" : "\(errno)" }

    /// The program that libbpf gave up at: its last message on a program names it. Nil where none does.
    public var program: String? {
        let begin = "libbpf: prog '"
        for line in log.split(whereSeparator: \.isNewline).reversed() where line.hasPrefix(begin) {
            return line.dropFirst(begin.count).split(separator: "'", maxSplits: 1).first.map { String($0) }
        }
        return nil
    }

    /// What to do about it, where the error number says it.
    public var hint: String? {
        switch errno {
        case .notPermitted, .permissionDenied:
            "it takes root with CAP_BPF and CAP_PERFMON; in a container, run Kairos on the host"
        case .noMemory: "the kernel has no memory for it, or RLIMIT_MEMLOCK is too low (kernels before 5.11)"
        case .invalidArgument where log.contains("BTF"): "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"
        default: nil
        }
    }
}
