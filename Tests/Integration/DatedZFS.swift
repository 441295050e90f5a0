import Datasets
import Scratch
import Snapshots

/// A `zfs` that does what the real one does, and says that Kairos's snapshots were made when their names say. For `--zfs-command`:
/// a pool of today has no snapshots of last year, and Kairos believes ZFS and not a name.
struct DatedZFS {
    let path: String

    init(for fixture: Fixture) throws {
        path = fixture.pool.directory + "/dated-zfs"
        let command = fixture.pool.command
        try write(
            """
            #!/bin/sh
            case "$1 $*" in
            get*creation*) ;;
            sync*) exec '\(command.zpool ?? "")' "$@" ;;
            *) exec '\(command.zfs)' "$@" ;;
            esac
            '\(command.zfs)' "$@" >"$0.out.$$"
            status=$?
            awk -F '\\t' -v OFS='\\t' -v times="$0.times" '
            BEGIN { while ((getline line <times) > 0) { split(line, part, "\\t"); time[part[1]] = part[2] } }
            { name = $1; sub(/.*@/, "", name) }
            name in time && $2 == "creation" { $3 = time[name] }
            name in time && NF == 2 { $2 = time[name] }
            { print }' "$0.out.$$"
            rm "$0.out.$$"
            exit $status

            """, to: path, mode: 0o755)
    }

    /// From now on these were made when their names say.
    func date(_ names: [String]) throws {
        let rows = names.compactMap { name in
            SnapshotName(parsing: name).map { "\(name)\t\($0.time.milliseconds / 1000)\n" }
        }
        try write(rows.joined(), to: path + ".times")
    }
}
