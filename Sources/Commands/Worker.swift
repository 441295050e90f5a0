import CLinux
import Glibc
import SystemPackage

/// The process that does the work of a command that cleans up for long: the command ends soon after a signal, and the worker when
/// everything is removed.
enum Worker {
    /// How long after a signal the command waits for the worker, milliseconds.
    private static let patience: CInt = 850

    /// Goes on in the worker. In the process that was started it does not return: that one waits, and exits.
    ///
    /// Call it before there is a second thread.
    static func start() {
        var end = kairos_worker_end()
        switch kairos_worker_start(patience, &end) {
        case 0: return
        case 1: break
        default:
            // A signal ends it as well, only later.
            Output.message(
                "cannot start a process: \(Errno(rawValue: errno)); after a signal this command waits for ZFS")
            return
        }
        if end.running != 0 {
            Output.message(
                "stopped; process \(end.running) is still cleaning up ('kill \(end.running)' ends it). "
                    + "The next run removes anything left")
        }
        exit(end.status)
    }
}
