import Background
import ArgumentParser
import Daemon
import Datasets
import Glibc
import Policy
import Snapshots
import Tracing

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check what works on this machine, and say what to do about the rest.",
        discussion: """
            Loads the probes, makes a call that they must see, and takes them away again; asks ZFS about its datasets. \
            Changes nothing. Each line is ok, warning or problem; the exit status is 1 when there is a problem.

            EXAMPLES:
              sudo kairos doctor
              sudo kairos doctor --json
              sudo kairos doctor --report kairos-report.txt     for a report of a fault with the probes
            """
    )

    @Flag(name: .shortAndLong, help: "A JSON array on stdout.")
    var json = false

    @Flag(name: .shortAndLong, help: "With libbpf's log where probes do not load.")
    var verbose = false

    @Option(
        help: ArgumentHelp(
            "Write to a new file what a report of a fault with the probes needs, and do nothing else: the kernel, what the programs find of its types, the verifier's logs. It holds no names of files, datasets or the host.",
            valueName: "file"))
    var report: String?

    mutating func run() throws {
        Output.ignoreBrokenPipe()
        if let report {
            try Doctor.report(to: report)
            return Output.message("written to \(SafeText.line(report)): look through it before you send it")
        }
        let findings = Doctor.examine(verbose: verbose)
        if json {
            Output.line(Output.json(findings))
        } else {
            for finding in findings { Output.line(finding.text) }
        }
        if findings.contains(where: { $0.status == .problem }) { throw ExitCode(1) }
    }
}

/// One thing that was looked at.
struct Finding: Encodable, Equatable {
    enum Status: String, Encodable {
        case ok, warning, problem
    }

    var status: Status
    var subject: String
    var detail: String
    /// What to do about it; nil when nothing has to be done.
    var remedy: String?

    var text: String {
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(1, width - text.count))
        }
        return padded(status.rawValue, 9) + padded(subject, 12) + detail
            + (remedy.map { "\n" + padded("", 21) + "→ " + $0 } ?? "")
    }
}

/// Looks at everything that Kairos depends on.
enum Doctor {
    static func examine(verbose: Bool) -> [Finding] {
        let (set, findings) = probes(verbose: verbose)
        return kernel() + permissions() + findings + zfs(set)
    }

    static func kernel() -> [Finding] {
        var findings = [Finding(status: .ok, subject: "kernel", detail: KernelSupport.release)]
        findings.append(
            KernelSupport.hasBTF
                ? Finding(status: .ok, subject: "BTF", detail: KernelSupport.btfPath)
                : Finding(
                    status: .problem, subject: "BTF", detail: "\(KernelSupport.btfPath) is not there",
                    remedy:
                        "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (those of Debian 11 and Ubuntu 20.10 and later have it)"
                ))
        switch KernelSupport.lockdown {
        case nil:
            findings.append(
                Finding(status: .ok, subject: "lockdown", detail: "not in this kernel, or securityfs is not mounted"))
        case "confidentiality":
            findings.append(
                Finding(
                    status: .problem, subject: "lockdown",
                    detail: "confidentiality: eBPF programs may not read the kernel's memory",
                    remedy: "boot without lockdown=confidentiality; lockdown=integrity is fine"))
        case let mode?: findings.append(Finding(status: .ok, subject: "lockdown", detail: mode))
        }
        if KernelSupport.hasJIT == false {
            findings.append(
                Finding(
                    status: .warning, subject: "JIT", detail: "eBPF programs are interpreted: several times slower",
                    remedy: "sysctl net.core.bpf_jit_enable=1"))
        }
        findings.append(
            Finding(
                status: .ok, subject: "tracefs", detail: "not needed: the probes attach by BTF"))
        return findings
    }

    static func permissions() -> [Finding] {
        guard let obstacle = KernelSupport.obstacleOfProcess else {
            return [
                Finding(
                    status: .ok, subject: "permissions", detail: "root, with the capabilities that eBPF programs need")
            ]
        }
        return [
            Finding(
                status: .problem, subject: "permissions", detail: obstacle.description, remedy: obstacle.remedy)
        ]
    }

    private static func zfs(_ set: ProbeSet?) -> [Finding] {
        let command: ZFSCommand
        do {
            command = try ZFSCommand.find(timeLimit: .seconds(20))
        } catch {
            return [Finding(status: .problem, subject: "zfs", detail: error.description, remedy: error.hint)]
        }
        let listing: Result<DatasetCatalog.Listing, ZFSError> = blocking {
            do throws(ZFSError) { return .success(try await DatasetCatalog(command).list()) } catch {
                return .failure(error)
            }
        }
        switch listing {
        case .failure(let error):
            return [Finding(status: .problem, subject: "zfs", detail: error.description, remedy: error.hint)]
        case .success(let listing):
            var findings = [flavour(command), engine()]
            do {
                let mounts = try MountTable.read()
                findings += pools(command) + datasets(listing.datasets, mounts, set)
            } catch {
                findings.append(Finding(status: .problem, subject: "mounts", detail: error.description))
            }
            return findings
        }
    }

    private static func flavour(_ command: ZFSCommand) -> Finding {
        if let version = KernelSupport.zfsModule {
            return Finding(
                status: .ok, subject: "zfs", detail: "OpenZFS \(version) in the kernel, \(SafeText.line(command.zfs))")
        }
        // "This system is currently running ZFS pool version 23."
        let pool = blocking { try? await command.runPool(["upgrade", "-v"]) }
        let version =
            pool.map { String(decoding: $0, as: UTF8.self).split(whereSeparator: \.isNewline).first ?? "" } ?? ""
        let number = version.split(separator: " ").last.map { $0.filter(\.isNumber) } ?? ""
        return Finding(
            status: .ok, subject: "zfs",
            detail: "zfs-fuse\(number.isEmpty ? "" : ", pool version \(number)"), \(SafeText.line(command.zfs)); "
                + "one dataset a snapshot call")
    }

    /// What `kairos run` takes snapshots with.
    private static func engine() -> Finding {
        let chosen = ChosenEngine.automatic(kernelHasZFS: KernelSupport.zfsModule != nil)
        let remedy: String? =
            switch chosen.missing {
            // The zfs command of zfs-fuse is as it should be.
            case nil, .notInKernel: nil
            case let error?: error.hint
            }
        return Finding(
            status: .ok, subject: "engine", detail: "\(chosen.name): \(chosen.reason)", remedy: remedy)
    }

    /// A pool that is suspended or read-only takes no snapshot.
    private static func pools(_ command: ZFSCommand) -> [Finding] {
        guard let output = blocking({ try? await command.runPool(["list", "-H", "-o", "name,health"]) }) else {
            return []
        }
        return ZFSOutput.table(output, columns: 2).rows.compactMap { row in
            guard row.count == 2, row[1] != "ONLINE" else { return nil }
            let name = SafeText.line(row[0])
            switch row[1] {
            case "DEGRADED":
                return Finding(
                    status: .warning, subject: "pool",
                    detail: "\(name) is DEGRADED: snapshots work, redundancy is lost",
                    remedy: "zpool status \(name)")
            default:
                return Finding(
                    status: .problem, subject: "pool",
                    detail: "\(name) is \(SafeText.line(row[1])): it takes no snapshot",
                    remedy: "zpool status \(name); then zpool clear \(name)")
            }
        }
    }

    private static func datasets(
        _ datasets: [DatasetInfo], _ mounts: MountTable, _ set: ProbeSet?
    ) -> [Finding] {
        guard !datasets.isEmpty else {
            return [
                Finding(
                    status: .warning, subject: "datasets", detail: "none: no pool is imported",
                    remedy: "zpool import; zpool create")
            ]
        }
        let volumes = set == .zfs
        let selection = Selection.byProperty(datasets, volumes: volumes)
        let enabled = Set(selection.watched.map(\.name))
        let leftOut = Set(selection.excluded.lazy.filter { $0.reason == .volume }.map(\.dataset))
        var findings = datasets.map { info in
            info.kind == .volume
                ? volume(info, isSeen: volumes, isEnabled: enabled.contains(info.name) || leftOut.contains(info.name))
                : dataset(info, mounts, isEnabled: enabled.contains(info.name))
        }
        findings += mounts.problems(of: Set(datasets.map(\.name))).map {
            Finding(status: .warning, subject: "mounts", detail: $0.text)
        }
        findings += selection.problems.map {
            Finding(status: .problem, subject: "property", detail: $0.description)
        }
        for info in selection.watched {
            findings += Configuration.problems(of: info).map {
                Finding(status: .warning, subject: "property", detail: $0)
            }
        }
        if enabled.isEmpty {
            findings.append(
                Finding(
                    status: .ok, subject: "enabled",
                    detail: "no dataset has kairos:enabled=on: name datasets, 'kairos run tank/home', "
                        + "or enable some, 'zfs set kairos:enabled=on tank/home'"))
        }
        return findings
    }

    private static func volume(_ info: DatasetInfo, isSeen: Bool, isEnabled: Bool) -> Finding {
        if let finding = tooLong(info, isEnabled: isEnabled) { return finding }
        let what = "\(SafeText.line(info.name)): a volume" + (isEnabled ? ", enabled" : "")
        guard !isSeen else {
            return Finding(status: .ok, subject: "dataset", detail: what + ": can be watched and snapshotted")
        }
        return Finding(
            status: isEnabled ? .warning : .ok, subject: "dataset",
            detail: what + ": not watched, only the probe set zfs sees what is written to it")
    }

    private static func tooLong(_ info: DatasetInfo, isEnabled: Bool) -> Finding? {
        // "@kairos-2026-11-22T09.05.00.123Z" is 32 bytes.
        guard info.name.utf8.count > DatasetName.longest - 32 else { return nil }
        return Finding(
            status: isEnabled ? .problem : .warning, subject: "dataset",
            detail: "\(SafeText.line(info.name)): its name leaves no room for a snapshot's "
                + "(\(DatasetName.longest) bytes together)",
            remedy: "zfs rename it, or a dataset above it, to something shorter")
    }

    private static func dataset(_ info: DatasetInfo, _ mounts: MountTable, isEnabled: Bool) -> Finding {
        let name = SafeText.line(info.name)
        let mark = isEnabled ? ", enabled" : ""
        if let finding = tooLong(info, isEnabled: isEnabled) { return finding }
        guard let mounted = mounts.dataset(named: info.name), let point = mounted.mountPoints.first else {
            guard mounts.claimants(of: info.name).isEmpty else {
                return Finding(
                    status: isEnabled ? .problem : .warning, subject: "dataset",
                    detail:
                        "\(name): several mounts have this name\(mark): Kairos can snapshot it but not see changes",
                    remedy: "unmount each mount that 'zfs mount' does not list")
            }
            return Finding(
                status: isEnabled ? .warning : .ok, subject: "dataset",
                detail: "\(name): not mounted here\(mark): can be snapshotted, its changes cannot be seen",
                remedy: isEnabled ? "zfs mount \(name)" : nil)
        }
        return Finding(
            status: .ok, subject: "dataset",
            detail: "\(name) on \(SafeText.line(point))\(mark): can be watched and snapshotted")
    }
}
