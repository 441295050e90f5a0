import Glibc

/// A program that shows what happens to files, and how it is started for the benchmark.
struct Contestant: Sendable {
    var name: String
    /// Nil: nothing runs beside the workload. That is what the others are compared with.
    var command: [String]?
    /// What of the workload it can show, in words.
    var shows: String
    var isKairos = false

    static func all(kairos: String, directory: String) -> [Contestant] {
        [
            Contestant(name: "nothing", command: nil, shows: "-"),
            Contestant(
                name: "kairos trace --json", command: [kairos, "trace", "--json", "--op", "all", directory],
                shows: "every operation", isKairos: true),
            Contestant(
                name: "kairos trace", command: [kairos, "trace", "--op", "all", directory], shows: "every operation",
                isKairos: true),
            // Of the file system that it is started in, and no other.
            Contestant(
                name: "fatrace", command: ["fatrace", "-c"], shows: "opens, writes, closes; of some at once one line"),
            Contestant(
                name: "inotifywait -m -r", command: ["inotifywait", "-m", "-r", directory],
                shows: "no process; equal events in a row as one"),
            Contestant(name: "opensnoop", command: ["opensnoop"], shows: "opens"),
            Contestant(name: "opensnoop-bpfcc", command: ["opensnoop-bpfcc"], shows: "opens"),
            Contestant(name: "opensnoop.bt", command: ["opensnoop.bt"], shows: "opens"),
        ]
    }

    /// With the program's full path; nil when it is not installed.
    func found() -> Contestant? {
        guard let program = command?.first, !program.hasPrefix("/") else { return self }
        guard let path = Programs.find(program) else { return nil }
        var found = self
        found.command?[0] = path
        return found
    }
}
