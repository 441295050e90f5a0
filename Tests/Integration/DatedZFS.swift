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
            pool=0
            case "$*" in *' -r '*) pool=1 ;; esac
            awk -F '\\t' -v OFS='\\t' -v times="$0.times" -v pool=$pool '
            BEGIN { while ((getline line <times) > 0) { split(line, part, "\\t"); time[part[1]] = part[2] } }
            { name = $1; sub(/.*@/, "", name) }
            # What else the pool has was made just now, before these: it would show that their times are wrong.
            pool && $2 == "createtxg" && !(name in time) { next }
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
