import ArgumentParser
import CLinux
import Datasets
import Glibc
import Snapshots
import SystemPackage
import Tracing

struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Show every change to a file as it happens: who, what, where.",
        discussion: """
            Works on any file system. A path shows the tree below it, a dataset what lies on it; without any, the whole \
            machine. Ends with Ctrl-C, after --count lines, or when nobody reads its output any more. What a slow reader \
            misses is lost and counted, on stderr at the end.

            Operations: create write truncate store (to mapped memory) mkdir unlink rmdir rename link attr, and without \
            change map (shared and writable) sync. Names are shown as the process gave them, from its directory on.

            EXAMPLES:
              kairos trace                      everything
              kairos trace /srv /etc            what changes below these
              kairos trace tank/home --json     a JSON object a line
            """
    )

    @Argument(help: ArgumentHelp("Trees or datasets to show. None: all.", valueName: "path|dataset"))
    var targets: [String] = []

    @Option(name: [.customShort("n"), .long], help: "End after so many lines.")
    var count: Int?

    @Flag(name: .shortAndLong, help: "JSON lines on stdout.")
    var json = false

    @Flag(help: "No line of headings.")
    var noHeader = false

    mutating func run() throws {
        if let count, count < 1 { throw Output.failure("--count: at least 1", status: 64) }
        try Privileges.requireRoot("kairos trace")
        Output.ignoreBrokenPipe()
        let tracer: Tracer
        do {
            tracer = try Tracer(signals: [SIGINT, SIGTERM])
        } catch { throw Output.failure(error.description) }
        let filter = TraceFilter(trees: try targets.map { try Self.tree($0, tracer.mounts) }.flatMap(\.self))
        var printer = TracePrinter(json: json, left: count ?? .max)
        if !json, !noHeader { printer.header() }
        Output.message(
            "tracing" + (targets.isEmpty ? "" : " " + targets.map { SafeText.line($0) }.joined(separator: ", ")))
        do {
            try tracer.run(
                batchEnd: { printer.flush() },
                { record in
                    let line = TraceLine(record, tracer.mounts)
                    guard filter.shows(line) else {
                        printer.filtered += 1
                        return true
                    }
                    return printer.print(line)
                })
        } catch { throw Output.failure(error.description) }
        printer.flush()
        let counters = tracer.counters
        Output.message(
            "\(printer.shown) shown, \(printer.filtered) filtered, "
                + "\(counters.lost + counters.candidatesLost) lost (ring full), \(counters.missedRuns) missed, "
                + "\(counters.truncated) with a truncated path, \(counters.faults) with an unreadable one")
    }

    /// A dataset's mount points, or the path itself with its links resolved, since that is how changes are shown.
    private static func tree(_ target: String, _ mounts: MountTable) throws -> [[UInt8]] {
        let points = mounts.mountPoints(of: target)
        if !points.isEmpty { return points }
        guard let real = realpath(target, nil) else {
            let reason = Errno(rawValue: errno)
            throw Output.failure("\(SafeText.line(target)) is neither a mounted dataset nor a path (\(reason))")
        }
        defer { free(real) }
        return [Array(UnsafeRawBufferPointer(start: real, count: strlen(real)))]
    }
}

/// Which lines are wanted.
struct TraceFilter {
    var trees: [[UInt8]]

    func shows(_ line: TraceLine) -> Bool {
        trees.isEmpty
            || trees.contains { tree in [line.path, line.newPath].contains { $0.map { below(tree, $0) } ?? false } }
    }

    private func below(_ tree: [UInt8], _ path: [UInt8]) -> Bool {
        let slash = UInt8(ascii: "/")
        return path.starts(with: tree) && (tree == [slash] || path.count == tree.count || path[tree.count] == slash)
    }
}

/// A record with its paths as this mount namespace sees them.
struct TraceLine {
    var record: Record
    /// Of a rename the old path.
    var path: [UInt8]?
    var newPath: [UInt8]?
    /// The dataset, or the type of another file system.
    var fileSystem: String
    /// The ZFS dataset, nil on other file systems.
    var dataset: String?

    init(_ record: Record, _ mounts: MountTable) {
        self.record = record
        if record.name == nil {
            path = record.path.map { mounts.path(device: record.device, path: $0) ?? $0 }
        } else {
            path = record.name.map { Self.path($0, mounts) }
            newPath = record.newName.map { Self.path($0, mounts) }
        }
        dataset = mounts.dataset(on: record.device)?.name
        fileSystem = dataset ?? mounts.entries.first { $0.device == record.device }?.fsType ?? record.device.description
    }

    /// The name as it was given, from where it started; `.` and `..` are taken out by their text alone.
    private static func path(_ name: GivenName, _ mounts: MountTable) -> [UInt8] {
        let slash = UInt8(ascii: "/")
        var full =
            mounts.path(mountID: Int32(bitPattern: name.startMount), path: name.start)
            ?? mounts.path(device: name.startDevice, path: name.start) ?? name.start
        if full != [slash] { full.append(slash) }
        var components: [ArraySlice<UInt8>] = []
        let whole = full + name.text
        for component in whole.split(separator: slash) where component != [UInt8(ascii: ".")] {
            if component.elementsEqual("..".utf8) { _ = components.popLast() } else { components.append(component) }
        }
        return components.reduce(into: []) { $0 += [slash] + $1 }
    }
}

/// Prints lines, and stops when nobody reads them.
struct TracePrinter {
    private let json: Bool
    private var left: Int
    private var buffer: [UInt8] = []
    private var isClosed = false
    private(set) var shown = 0
    var filtered = 0

    init(json: Bool, left: Int) {
        self.json = json
        self.left = left
    }

    mutating func header() {
        buffer += (Self.columns("TIME", "PID", "COMM", "OP", "BYTES", "FS") + "PATH\n").utf8
        flush()
    }

    /// False when no more are wanted.
    mutating func print(_ line: TraceLine) -> Bool {
        buffer += ((json ? Output.json(JSONLine(line)) : Self.text(line)) + "\n").utf8
        shown += 1
        left -= 1
        if buffer.count > 1 << 16 { flush() }
        return left > 0 && !isClosed
    }

    mutating func flush() {
        guard !buffer.isEmpty else { return }
        isClosed = !Output.write(buffer) || isClosed
        buffer.removeAll(keepingCapacity: true)
    }

    private static func text(_ line: TraceLine) -> String {
        let record = line.record
        let bytes = record.operation == .write ? String(record.result) : "-"
        var text = columns(
            LocalTime.text(SystemClock.wall(at: record.time)), String(record.process.pid),
            SafeText.line(record.process.command), record.operation.name, bytes, SafeText.line(line.fileSystem))
        text += line.path.map { SafeText.line($0, limit: 8192) } ?? "?"
        if record.isTruncated { text += " (truncated)" }
        if let newPath = line.newPath { text += " -> " + SafeText.line(newPath, limit: 8192) }
        return text
    }

    private static func columns(
        _ time: String, _ pid: String, _ comm: String, _ op: String, _ bytes: String, _ fs: String
    ) -> String {
        func left(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(1, width - text.count))
        }
        func right(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count)) + text + " "
        }
        return left(time, 13) + right(pid, 7) + left(comm, 16) + left(op, 9) + right(bytes, 8) + left(fs, 12)
    }

    /// Unknown is null. Paths that are not UTF-8 have their bytes escaped: the machine-readable form is still to come.
    private struct JSONLine: Encodable {
        var time: String
        var timeNs: UInt64
        var op: String
        var pid: UInt32
        var tid: UInt32
        var ppid: UInt32
        var uid: UInt32
        var comm: String
        var device: String
        var inode: UInt64?
        var dataset: String?
        var fileSystem: String
        var path: String?
        var newPath: String?
        var bytes: Int64?
        var truncated: Bool

        init(_ line: TraceLine) {
            let record = line.record
            let wall = SystemClock.wall(at: record.time)
            time = Timestamp(seconds: wall.seconds, nanoseconds: wall.nanoseconds).rfc3339
            timeNs = record.time
            op = record.operation.name
            pid = record.process.pid
            tid = record.process.thread
            ppid = record.process.parent
            uid = record.process.user
            comm = SafeText.line(record.process.command)
            device = record.device.description
            // Of a call on names the record holds the directory's inode, not the file's.
            inode = record.name == nil ? record.inode : nil
            dataset = line.dataset
            fileSystem = line.fileSystem
            path = line.path.map { SafeText.line($0, limit: 8192) }
            newPath = line.newPath.map { SafeText.line($0, limit: 8192) }
            bytes = record.operation == .write ? record.result : nil
            truncated = record.isTruncated
        }
    }
}
