import Daemon
import Datasets
import Dispatch

/// What the demo's thread is told by others.
enum DemoMessage: Sendable {
    /// The daemon is up; call this to stop it.
    case started(stop: @Sendable () -> Void)
    case daemon(DaemonEvent)
    case ended(Result<Summary, StartError>)
    case workload(Result<[WorkloadNote], DemoError>)
}

/// The real daemon, on a thread of its own.
enum DaemonThread {
    /// Starts it; all that it tells goes to `post`, its end too.
    static func start(
        _ configuration: Configuration, command: ZFSCommand, post: @escaping @Sendable (DemoMessage) -> Void
    ) {
        DispatchQueue(label: "kairos.demo.daemon").async {
            // When this has returned the probes are detached and the datasets unlocked.
            let result = run(configuration, command, post)
            post(.ended(result))
        }
    }

    private static func run(
        _ configuration: Configuration, _ command: ZFSCommand, _ post: @escaping @Sendable (DemoMessage) -> Void
    ) -> Result<Summary, StartError> {
        do throws(StartError) {
            // Signals are the demo's: it still has things to remove when the daemon has stopped.
            let daemon = try Daemon(configuration, command: command, signals: []) { post(.daemon($0)) }
            post(.started(stop: daemon.stopper()))
            return .success(try daemon.run())
        } catch {
            return .failure(error)
        }
    }
}
