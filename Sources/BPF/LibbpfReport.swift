import CLibbpf
import SystemPackage

/// What libbpf has to say, for a report of a fault.
public enum LibbpfReport {
    /// Such as `1.1`.
    public static var version: String { String(cString: libbpf_version_string()) }

    /// Runs `body`; meanwhile all messages of this thread's calls go to the file, whole: the verifier's logs, and where each access of
    /// a program to a kernel's type was found.
    public static func writing<Value>(to file: FileDescriptor, _ body: () -> Value) -> Value {
        kairos_libbpf_report(file.rawValue)
        defer { kairos_libbpf_report(-1) }
        return body()
    }
}
