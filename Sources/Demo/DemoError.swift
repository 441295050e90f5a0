import Daemon
import Datasets
import Policy
import SystemPackage

/// Why a demo ended early. What it had made is removed all the same.
public enum DemoError: Error, Sendable, CustomStringConvertible {
    case pool(String)
    case daemon(StartError)
    /// The daemon ended before it was told to.
    case daemonGone
    case workload(WorkloadStep, String)
    case reading(String)
    case tookTooLong(String, limit: Duration)
    case unexpected(String)
    case interrupted(signal: CInt)
    /// Nobody reads the output any more.
    case outputClosed
    case system(String, Errno)

    public var description: String {
        switch self {
        case .pool(let words), .reading(let words): words
        case .daemon(let error): error.description
        case .daemonGone: "Kairos stopped by itself in the middle of the demo; the messages above say why"
        case .workload(let step, let words): "the workload's step '\(step.rawValue)' failed: \(words)"
        case .tookTooLong(let what, let limit):
            "no sign of \(what) within \(limit.exactText); is the machine very busy? "
                + "'kairos doctor' shows whether the probes work here"
        case .unexpected(let words): words
        case .interrupted: "interrupted"
        case .outputClosed: "nobody reads the output any more"
        case .system(let operation, let errno): "cannot \(operation): \(errno)"
        }
    }
}
