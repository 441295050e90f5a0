import FoundationEssentials
import Glibc
import Subprocess
import SystemPackage
import TestSupport
import Testing

/// A line of `kairos trace --json`.
struct TraceLine: Decodable, Sendable {
    var v: Int
    var time: String
    var tsNs: UInt64
    var op: String
    var flags: [String]
    var pid: Int
    var tid: Int
    var ppid: Int
    var uid: Int
    var comm: String?
    var dev: String
    var inode: UInt64?
    var generation: UInt64?
    var dataset: String?
    var fs: String?
    var path: String?
    var pathRaw: Data?
    var oldPath: String?
    var oldPathRaw: Data?
    var bytes: UInt64?
    var offset: Int64?
    var ret: Int64?
    var errno: String?
    var epoch: UInt64?
    var probe: String

    init(line: [UInt8]) throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        self = try decoder.decode(Self.self, from: Data(line))
    }

    /// The name as bytes, in whatever form it came.
    var name: [UInt8]? { path.map { Array($0.utf8) } ?? pathRaw.map { Array($0) } }
    var oldName: [UInt8]? { oldPath.map { Array($0.utf8) } ?? oldPathRaw.map { Array($0) } }
}

/// A `kairos trace` under test, with a directory of its own to trace.
struct TraceRun: Sendable {
    let kairos: KairosProcess
    let directory: String

    /// Traces, and does something meanwhile. Returns the lines once it has ended by SIGINT with status 0.
    ///
    /// - Parameter isChecked: whether each line is held against the schema, which takes most of the time in an emulated machine.
    static func lines(
        _ options: [String], in directory: String? = nil, isChecked: Bool = true,
        _ body: (TraceRun) async throws -> Void
    ) async throws -> [TraceLine] {
        try await run(["--json"] + options, in: directory) { run in
            try await body(run)
            let (status, _) = try await run.kairos.stop(.interrupt)
            #expect(status == .exited(0), "\(run.kairos.transcript)")
            return try run.lines(isChecked: isChecked)
        }
    }

    /// - Parameter directory: an existing one; nil: a new one, which is removed afterwards.
    static func run<Value>(
        _ options: [String], in directory: String? = nil, _ body: (TraceRun) async throws -> Value
    ) async throws -> Value {
        var template = Array("/tmp/kairos-trace-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw CallError(call: "mkdtemp", errno: Errno(rawValue: errno)) }
        let own = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { removeTree(own) }
        // It is not to be seen among what happens in the directory.
        let ready = own + "-ready"
        defer { unlink(ready) }
        return try await KairosProcess.run(["trace", "--ready-file", ready] + options) { kairos in
            // The kernel checks some 50 programs first: long, where the machine is an emulated one.
            let isReady = await wait(for: .seconds(300)) { exists(ready) || kairos.isOver }
            guard isReady, !kairos.isOver else {
                throw KairosError(description: "the trace did not begin\n\(kairos.transcript)")
            }
            return try await body(TraceRun(kairos: kairos, directory: directory ?? own))
        }
    }

    func lines(isChecked: Bool = true) throws -> [TraceLine] {
        let schema = isChecked ? try JSONSchema.ofTrace() : nil
        return try kairos.lines.map { line in
            let problems = schema?.problems(line: line) ?? []
            #expect(problems.isEmpty, "\(problems)\n\(String(decoding: line, as: UTF8.self))")
            do { return try TraceLine(line: line) } catch {
                throw KairosError(description: "\(error)\n\(String(decoding: line, as: UTF8.self))")
            }
        }
    }

    /// The numbers of the closing line, by the words before or behind them.
    func tally() throws -> (shown: Int, lost: Int) {
        let line = try #require(kairos.messages.split(separator: "\n").last { $0.contains("shown") })
        func number(before word: String) throws -> Int {
            let range = try #require(line.firstRange(of: " " + word), "\(word) in \(line)")
            return try #require(Int(line[..<range.lowerBound].split(separator: " ").last ?? ""), "\(word) in \(line)")
        }
        return (
            try number(before: "event"), try number(before: "ring full") + number(before: "program busy")
        )
    }
}

/// Removes a directory and what is in it; links are not followed.
func removeTree(_ path: String) {
    guard let stream = opendir(path) else { return }
    defer {
        closedir(stream)
        rmdir(path)
    }
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        if name == Array(".".utf8) || name == Array("..".utf8) { continue }
        let full = (Array(path.utf8) + [UInt8(ascii: "/")] + name + [0]).map { CChar(bitPattern: $0) }
        if unlink(full) != 0 {
            removeTree(String(decoding: full.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        }
    }
}
