import Tracing

extension Doctor {
    /// A set that was tried. (Probes of two sets at once would only cost twice.)
    private struct Tried {
        var set: ProbeSet
        var isComplete: Bool
        var blindSpots: [String]
        var leftOut: [LeftOutProgram]
        /// The fields of the zfs module are still to be found.
        var seeksLayout: Bool
    }

    /// Tries every set: the one that 'kairos run' takes, and what is to say of all.
    static func probes(verbose: Bool) -> (ProbeSet?, [Finding]) {
        var results: [Result<Tried, ProbeError>] = []
        var findings: [Finding] = []
        for set in ProbeSet.allCases {
            if set == .zfs, KernelSupport.zfsModule == nil {
                findings.append(
                    Finding(status: .ok, subject: "probes", detail: "zfs: skipped, no zfs module is loaded")
                )
                continue
            }
            do throws(ProbeError) {
                let probes = try Probes(set, mode: .watch, ringBytes: 1 << 16)
                results.append(
                    .success(
                        Tried(
                            set: set, isComplete: probes.isComplete, blindSpots: probes.blindSpots,
                            leftOut: probes.leftOut, seeksLayout: probes.layout != .none)))
            } catch { results.append(.failure(error)) }
        }
        let working = results.compactMap { try? $0.get() }
        let taken = (working.first(where: \.isComplete) ?? working.first)?.set
        for result in results {
            switch result {
            case .success(let tried): findings += Self.findings(of: tried, isTaken: tried.set == taken, verbose)
            case .failure(let error):
                if let finding = Self.findingOfAll(error) {
                    // Each set would say the same.
                    if !findings.contains(finding) { findings.append(finding) }
                    continue
                }
                let remedy = error.hint ?? (verbose ? nil : Self.verboseRemedy)
                findings.append(
                    Finding(
                        status: taken == nil ? .problem : .warning, subject: "probes",
                        detail: error.description + log(error.log, verbose), remedy: remedy))
            }
        }
        return (taken, findings)
    }

    /// Why no set loads, whatever its programs.
    private static func findingOfAll(_ error: ProbeError) -> Finding? {
        switch error {
        case .noBTF: Finding(status: .problem, subject: "probes", detail: "none loads: this kernel has no BTF")
        case .forbidden(let obstacle, _):
            Finding(
                status: .problem, subject: "probes", detail: "none loads: \(obstacle)", remedy: obstacle.remedy)
        default: nil
        }
    }

    private static let verboseRemedy = "'kairos doctor --verbose' shows the kernel's log"

    private static func findings(of tried: Tried, isTaken: Bool, _ verbose: Bool) -> [Finding] {
        let verdict = isTaken ? "loads, attaches and fires; 'kairos run' takes it" : "works too"
        let layout =
            tried.seeksLayout
            ? "; the zfs module has no BTF, so Kairos works as with the set vfs until its first snapshot proves what it reads"
            : ""
        var findings = [
            Finding(status: .ok, subject: "probes", detail: "\(tried.set.rawValue): \(verdict)\(layout)")
        ]
        let warned = tried.leftOut.filter(\.isWorthAWarning)
        findings += warned.map { program in
            Finding(
                status: .warning, subject: "probes",
                detail: "\(tried.set.rawValue) does not see: \(program.blindSpotAndReason)" + log(program.log, verbose),
                remedy: verbose || program.log.isEmpty ? nil : verboseRemedy)
        }
        guard isTaken else { return findings }
        let said = Set(warned.map(\.blindSpotAndReason))
        return findings
            + tried.blindSpots.filter { !said.contains($0) }.map {
                Finding(status: .warning, subject: "probes", detail: "\(tried.set.rawValue) does not see: \($0)")
            }
    }

    private static func log(_ log: String, _ verbose: Bool) -> String { verbose && !log.isEmpty ? "\n" + log : "" }
}
