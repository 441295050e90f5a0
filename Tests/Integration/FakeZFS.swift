import Datasets
import Glibc
import Scratch
import SystemPackage

/// A `zfs` that does what the real one does, unless it is told to fail or to wait. For `--zfs-command`.
///
/// It stands for `zpool` too, as Kairos calls both by that path.
struct FakeZFS {
    let path: String

    /// - Parameter directory: where nobody watches; it stays there until the pool's directory goes.
    init(for fixture: Fixture, in directory: String, called name: String) throws {
        let command = fixture.pool.command
        path = directory + "/" + name
        // By another name, as Kairos hears of every `zfs` that ends, but for its own.
        let real = path + ".real"
        unlink(real)
        guard symlink(command.zfs, real) == 0 else { throw CallError(call: "symlink", errno: Errno(rawValue: errno)) }
        // The flags are files beside it, so that a test changes its mind while Kairos runs.
        try write(
            """
            #!/bin/sh
            case $1 in
            snapshot)
                date +%s%N >> "$0.calls"
                if [ -e "$0.fail" ]; then echo "cannot create snapshot '$2': out of space" >&2; exit 1; fi
                while [ -e "$0.hold" ]; do sleep 0.02; done
                ;;
            list)
                if [ -e "$0.only" ]; then set -- "$@" -r '\(fixture.pool.name)'; fi
                ;;
            sync) exec '\(command.zpool ?? "")' "$@" ;;
            esac
            '\(real)' "$@"
            status=$?
            [ "$1" = snapshot ] && date +%s%N >> "$0.done"
            while [ "$1" = snapshot ] && [ -e "$0.late" ]; do sleep 0.02; done
            exit $status

            """, to: path, mode: 0o755)
    }

    enum Flag: String {
        /// `snapshot` fails.
        case fail
        /// `snapshot` waits.
        case hold
        /// `snapshot` takes the snapshot, and does not come back.
        case late
        /// `list` knows of the test pool alone.
        case only
    }

    func set(_ flag: Flag) throws { try write("", to: "\(path).\(flag.rawValue)") }
    func clear(_ flag: Flag) throws { try call("unlinkat", .here, .text("\(path).\(flag.rawValue)"), 0) }

    /// When `snapshot` was called, in seconds.
    var calls: [Double] { times("calls") }
    /// When one that was neither failed nor held came to its end.
    var done: [Double] { times("done") }

    private func times(_ name: String) -> [Double] {
        let text = (try? contents(of: "\(path).\(name)")) ?? []
        return String(decoding: text, as: UTF8.self).split(separator: "\n").compactMap { Double($0).map { $0 / 1e9 } }
    }
}
