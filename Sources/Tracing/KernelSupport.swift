import BPF
import Glibc
import SystemPackage

/// What this kernel offers, as far as Kairos depends on it.
public enum KernelSupport {
    /// `6.12.95+deb12-cloud-amd64`.
    public static var release: String {
        var name = utsname()
        uname(&name)
        return withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// CO-RE needs the kernel's own types: CONFIG_DEBUG_INFO_BTF.
    public static var hasBTF: Bool { access(btfPath, R_OK) == 0 }
    public static let btfPath = "/sys/kernel/btf/vmlinux"

    /// The types of the zfs module, where it was built with them and is loaded.
    public static let moduleBTFPath = "/sys/kernel/btf/zfs"

    /// `none`, `integrity` or `confidentiality`; nil where the kernel has no lockdown or securityfs is not mounted.
    /// Under `confidentiality` programs may not read the kernel's memory.
    public static var lockdown: String? {
        // "[none] integrity confidentiality"
        firstLine("/sys/kernel/security/lockdown")?.split(separator: " ")
            .first { $0.hasPrefix("[") }.map { String($0.dropFirst().dropLast()) }
    }

    /// Whether programs are compiled to machine code; nil when it cannot be told.
    public static var hasJIT: Bool? { firstLine("/proc/sys/net/core/bpf_jit_enable").map { $0 != "0" } }

    /// The version of the zfs module that is loaded, nil without one.
    public static var zfsModule: String? { firstLine("/sys/module/zfs/version") }

    public static var hasDirtyFolio: Bool { KernelTypes()?.hasTracepoint("writeback_dirty_folio") ?? false }

    /// The effective capabilities of this process, the bits of <linux/capability.h>; nil when they cannot be read.
    public static var capabilities: UInt64? {
        lines("/proc/self/status").first { $0.hasPrefix("CapEff:") }
            .flatMap { UInt64($0.dropFirst(7).drop { $0.isWhitespace }, radix: 16) }
    }

    /// Why this kernel takes no program of this process, whatever the program.
    public enum Obstacle: Sendable, Hashable, CustomStringConvertible {
        /// The kernel is in lockdown.
        case lockdown
        /// The process is not root.
        case user(UInt32)
        /// Their names: `CAP_PERFMON`.
        case capabilities([String])
        /// The process is root in a user namespace of its own alone.
        case userNamespace

        public var description: String {
            switch self {
            case .lockdown: "the kernel is in lockdown (confidentiality): eBPF programs may not read its memory"
            case .user(let user): "loading eBPF programs requires root, and this runs as user \(user)"
            case .userNamespace: "this process is root in a user namespace alone, as in an unprivileged container"
            case .capabilities(let names): "this process lacks \(names.joined(separator: " and "))"
            }
        }

        /// What to do about it.
        public var remedy: String {
            switch self {
            case .lockdown: "boot without lockdown=confidentiality; lockdown=integrity is fine"
            case .user: "run it as root, for example with sudo"
            case .userNamespace: "run Kairos on the host"
            case .capabilities(let names):
                "in a container? run Kairos on the host, or give the container \(names.joined(separator: " and "))"
            }
        }
    }

    /// Nil: no known one.
    public static var obstacle: Obstacle? { lockdown == "confidentiality" ? .lockdown : obstacleOfProcess }

    /// What the process itself lacks. CAP_SYS_ADMIN covers the others, which Linux 5.8 took out of it.
    public static var obstacleOfProcess: Obstacle? {
        guard geteuid() == 0 else { return .user(geteuid()) }
        let map = firstLine("/proc/self/uid_map")?.split(whereSeparator: \.isWhitespace)
        if let map, map != ["0", "0", "4294967295"] { return .userNamespace }
        guard let held = capabilities, held & 1 << 21 == 0 else { return nil }
        let missing = [(38, "CAP_PERFMON"), (39, "CAP_BPF")].filter { held & 1 << UInt64($0.0) == 0 }.map(\.1)
        return missing.isEmpty ? nil : .capabilities(missing)
    }

    private static func firstLine(_ path: String) -> String? { lines(path).first }

    private static func lines(_ path: String) -> [String] {
        guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return [] }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = (try? file.closeAfter { try bytes.withUnsafeMutableBytes { try file.read(into: $0) } }) ?? 0
        return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
