import FoundationEssentials

/// A line of `kairos run --json`.
struct KairosEvent: Decodable, Sendable {
    var event: String
    var dataset: String?
    var volume: Bool?
    var snapshot: String?
    var trigger: String?
    /// Of a change.
    var op: String?
    var inode: UInt64?
    var path: String?
    var newPath: String?
    var changes: [String: UInt64]?
    var calls: UInt64?
    var paths: [String]?
    var morePaths: Int?
    var processes: [Process]?
    var recordsLost: UInt64?
    var windowMs: Int64?
    var engineMs: Int64?
    var dryRun: Bool?
    var failuresBefore: Int?
    var operation: String?
    var error: String?
    var retries: Bool?
    var text: String?
    var datasets: [String]?
    var summary: Summary?

    struct Process: Decodable, Sendable, Hashable {
        var pid: Int32
        var uid: UInt32
        var comm: String
    }

    struct Summary: Decodable, Sendable {
        var events: UInt64
        var recordsLost: UInt64
        var snapshots: UInt64
        var failures: UInt64
        var checks: UInt64
        var checksUnchanged: UInt64
        var unresolved: UInt64
        var longestWindowMilliseconds: UInt64
        var audits: UInt64
        var missed: UInt64
        var leftAtRisk: [String]
        var notWatched: [String]?
    }

    /// A snapshot's full name.
    var fullName: String { "\(dataset ?? "?")@\(snapshot ?? "?")" }

    init(line: [UInt8]) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        self = try decoder.decode(KairosEvent.self, from: Data(line))
    }
}
