import Glibc
import Subprocess
import Testing

@testable import Tracing

/// Where the kernel takes no program at all, one line says why, and what to do.
@Suite("A host that takes no eBPF program", .serialized)
struct ForbiddenTests {
    private static let noBTF = [
        "/usr/bin/unshare", "-m", "/bin/sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"", "sh",
    ]

    private static let namespace = ["/usr/bin/unshare", "--user", "--map-root-user"]

    private static func without(_ capabilities: String) -> [String] {
        ["/usr/bin/setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities]
    }

    static let hosts: [(wrapper: [String], says: String)] = [
        (
            noBTF,
            "this kernel has no BTF (/sys/kernel/btf/vmlinux), which eBPF programs need to find their way in it: "
                + "boot one with CONFIG_DEBUG_INFO_BTF=y"
        ),
        (
            without("-perfmon,-sys_admin"),
            "this process lacks CAP_PERFMON; in a container? run Kairos on the host, or give the container CAP_PERFMON"
        ),
        (
            without("-perfmon,-bpf,-sys_admin"),
            "this process lacks CAP_PERFMON and CAP_BPF; in a container? run Kairos on the host, "
                + "or give the container CAP_PERFMON and CAP_BPF"
        ),
        (
            namespace,
            "this process is root in a user namespace alone, as in an unprivileged container; run Kairos on the host"
        ),
    ]

    static func trace(by wrapper: [String], _ options: [String] = []) async throws -> (
        TerminationStatus, String
    ) {
        try await KairosProcess.run(["trace", "--duration", "1s"] + options, wrapper: wrapper) { kairos in
            let status = try await kairos.exit()
            return (status, kairos.messages)
        }
    }

    @Test(
        "one line says what is missing, whatever set is asked for", arguments: hosts.indices, [nil, "syscalls", "vfs"])
    func line(host: Int, set: String?) async throws {
        let (wrapper, says) = Self.hosts[host]
        let (status, messages) = try await Self.trace(by: wrapper, set.map { ["--probes", $0] } ?? [])
        #expect(status == .exited(1))
        #expect(messages == "kairos: \(says)\n")
    }

    @Test("kairos doctor says it once", arguments: hosts.indices)
    func doctor(host: Int) async throws {
        let (wrapper, says) = Self.hosts[host]
        let output = try await KairosProcess.run(["doctor"], wrapper: wrapper) { kairos in
            _ = try await kairos.exit()
            return kairos.lines.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
        }
        let problems = output.split(separator: "\n").filter { $0.hasPrefix("problem  probes") }
        #expect(problems.count == 1, "\(output)")
        let reason = says.split(separator: ";")[0].split(separator: " (")[0]
        #expect(problems.first == "problem  probes      none loads: \(reason)", "\(output)")
    }
}
