import ArgumentParser
import CLinux
import Datasets
import Glibc
import SystemPackage
import Trace
import Tracing

/// One run of `kairos trace`, live or of a recording: events come in, and are printed, recorded or counted.
final class TraceSession {
    private let options: TraceOptions
    private let tracer: Tracer?
    private var places: TracePlaces
    private var filter: TraceFilter
    private var output: TraceOutput
    private let deadline: UInt64?
    private var buffer = ByteBuffer()
    private var json = JSONLines()
    private var table: TraceTable
    private var busiest = TraceSummary()
    private var screen: SummaryScreen
    private var recorder: TraceRecorder?
    private let start = SystemClock.monotonic()
    private var tally = TraceTally()
    /// What to add to CLOCK_MONOTONIC to have the wall clock.
    private var clock = SystemClock.offset()

    /// Shows what happens from now on.
    init(tracing options: TraceOptions) throws {
        self.options = options
        let isTerminal = isatty(STDOUT_FILENO) == 1
        let mounts: MountTable
        let targets: [TraceTarget]
        do {
            mounts = try MountTable.read()
            targets = try options.targets.map { name throws(TraceTarget.Failure) in try TraceTarget(name, mounts) }
        } catch { throw Output.failure("\(error)") }
        if let ready = options.readyFile, access(ready, F_OK) == 0 {
            throw Output.failure(
                "--ready-file: \(SafeText.line(ready)) is there already, perhaps of a trace that was killed: remove it first"
            )
        }
        do throws(TraceRecorder.Failure) {
            recorder = try options.record.map { path throws(TraceRecorder.Failure) in try TraceRecorder(path) }
        } catch { throw Output.failure(error.description) }
        let tracer: Tracer
        do throws(Tracer.StartError) {
            tracer = try Tracer(
                signals: [SIGINT, SIGTERM, SIGHUP], selection: options.selection, probes: options.probes,
                ringBytes: options.ringBytes
            ) { mounts in targets.isEmpty ? nil : targets.flatMap { $0.trees(mounts) } }
        } catch {
            recorder?.discard()
            if options.isVerbose, case .probes(let error) = error, !error.log.isEmpty {
                Output.message("libbpf: " + error.log)
            }
            throw Output.failure(error.description)
        }
        self.tracer = tracer
        places = TracePlaces(tracer.mounts)
        filter = TraceFilter(options.selection, trees: targets.isEmpty ? nil : targets.flatMap(\.paths))
        deadline = options.duration.map { SystemClock.monotonic() &+ $0 }
        output = TraceOutput(interrupt: tracer.signals, deadline: deadline)
        let style = TraceStyle.of(options, isTerminal: isTerminal)
        table = TraceTable(style, start: start)
        screen = SummaryScreen(isTerminal: isTerminal, isLive: !options.isJSON && !TraceStyle.isDumb)
        for program in tracer.leftOut where program.isWorthAWarning {
            Output.message("probe set \(tracer.kind.rawValue) does not see \(program.blindSpotAndReason)")
        }
        if options.isVerbose {
            for refusal in tracer.refused { Output.message(refusal.description) }
            Output.message("probe set \(tracer.kind.rawValue); not seen: " + tracer.blindSpots.joined(separator: "; "))
        }
    }

    /// Shows what a recording holds.
    init(replaying options: TraceOptions) throws {
        self.options = options
        do throws(RecordingReader.Failure) { _ = try RecordingReader(options.replay ?? "") } catch {
            throw Output.failure(error.description)
        }
        tracer = nil
        deadline = nil
        places = TracePlaces(MountTable(entries: []))
        let targets = options.targets.map { TraceTarget(replaying: Self.absolute($0)) }
        filter = TraceFilter(
            options.selection, trees: targets.isEmpty ? nil : targets.flatMap(\.paths),
            datasets: Set(targets.compactMap(\.dataset).map { Array($0.utf8) }))
        output = TraceOutput(interrupt: nil, deadline: nil)
        let isTerminal = isatty(STDOUT_FILENO) == 1
        let style = TraceStyle.of(options, isTerminal: isTerminal)
        table = TraceTable(style, start: nil)
        screen = SummaryScreen(isTerminal: isTerminal, isLive: !options.isJSON && !TraceStyle.isDumb)
        do throws(TraceRecorder.Failure) {
            recorder = try options.record.map { path throws(TraceRecorder.Failure) in try TraceRecorder(path) }
        } catch { throw Output.failure(error.description) }
    }

    /// A word with a slash or a dot at its head is a path, here as in a live trace; one without is a dataset.
    private static func absolute(_ target: String) -> String {
        guard !target.hasPrefix("/"), target.hasPrefix(".") || realpath(target, nil) != nil else { return target }
        guard let real = realpath(target, nil) else { return target }
        defer { free(real) }
        return String(cString: real)
    }

    func run() throws {
        if options.hasHeader, !options.isSummary, recorder == nil { table.appendHeader(to: &buffer) }
        flush()
        let failure: String?
        if let tracer { failure = try live(tracer) } else { failure = try replay() }
        flush()
        if options.isSummary { write(screen.last(busiest, isJSON: options.isJSON)) }
        finishRecording()
        Output.message(tally.text(since: start, tracer?.counters))
        if let problem = failure ?? recorder?.problem ?? output.problem { throw Output.failure(problem) }
    }

    private func live(_ tracer: Tracer) throws -> String? {
        Output.message(
            "tracing"
                + (options.targets.isEmpty
                    ? "" : " " + options.targets.map { SafeText.line($0) }.joined(separator: ", "))
        )
        let ready = try options.readyFile.map { try ReadyFile($0) }
        defer { ready?.remove() }
        do throws(Tracer.StartError) {
            try tracer.run(
                until: deadline, tick: options.isSummary || recorder != nil ? 1_000_000_000 : nil,
                mountsChanged: { self.places = TracePlaces($0, after: self.places) },
                batchEnd: { self.batchEnds(tracer) },
                { self.take($0) })
            return nil
        } catch { return error.description }
    }

    /// False when nobody is there any more to show it to.
    private func batchEnds(_ tracer: Tracer) -> Bool {
        clock = SystemClock.offset()
        flush()
        if options.isSummary, !output.isClosed, let text = screen.refresh(busiest, seconds: seconds) {
            write(text)
        }
        if recorder != nil {
            let counters = tracer.counters
            recorder?.tick(lost: counters.lost + counters.candidatesLost + counters.missedRuns)
        }
        return !output.isClosed && recorder?.problem == nil
    }

    private func replay() throws -> String? {
        guard let path = options.replay else { return nil }
        do throws(RecordingReader.Failure) {
            var reader = try RecordingReader(path)
            while tally.shown < options.count, !output.isClosed, let step = try reader.next() {
                switch step {
                case .events(let events, let lost):
                    tally.lost += lost
                    for event in events where tally.shown < options.count {
                        if filter.shows(event) { show(event) } else { tally.filtered += 1 }
                    }
                case .damage(let damage):
                    tally.damages += 1
                    Output.message("\(SafeText.line(path)): \(damage)")
                }
            }
        } catch { throw Output.failure(error.description) }
        return tally.damages > 0 ? "what is whole of the recording was shown" : nil
    }

    /// False when no more are wanted.
    private func take(_ record: Record) -> Bool {
        let event = TraceEvent(record, &places, clock: clock)
        if filter.touchesTree(event) { tracer?.refreshTrees() }
        guard filter.shows(event, isBelow: record.isBelow) else {
            tally.filtered += 1
            return true
        }
        show(event)
        return tally.shown < options.count && !output.isClosed && recorder?.problem == nil
    }

    private func show(_ event: borrowing TraceEvent) {
        tally.add(event)
        if recorder != nil {
            recorder?.add(event)
        } else if options.isSummary {
            busiest.add(event)
        } else if options.isJSON {
            json.append(event, to: &buffer)
        } else {
            table.append(event, to: &buffer)
        }
        if buffer.count > 1 << 16 { flush() }
    }

    private func flush() {
        guard !buffer.isEmpty else { return }
        if tracer?.isStopping ?? false { output.hurry() }
        buffer.withBytes { output.write($0) }
        buffer.clear()
    }

    private func write(_ text: String) {
        buffer.append(text)
        flush()
    }

    private func finishRecording() {
        if let tracer {
            let counters = tracer.counters
            recorder?.finish(lost: counters.lost + counters.candidatesLost + counters.missedRuns)
        } else {
            recorder?.finish(lost: tally.lost)
        }
    }

    private var seconds: Double { Double(SystemClock.monotonic() &- start) / 1e9 }
}

/// What was shown, and what was not.
struct TraceTally {
    var shown = 0
    var filtered = 0
    var unresolved = 0
    var truncated = 0
    /// Of a recording: lost when it was made.
    var lost: UInt64 = 0
    var damages = 0

    mutating func add(_ event: TraceEvent) {
        shown += 1
        if event.path == nil { unresolved += 1 }
        if event.flags.contains(.truncated) { truncated += 1 }
    }

    func text(since start: UInt64, _ counters: ProbeCounters?) -> String {
        let seconds = max(Double(SystemClock.monotonic() &- start) / 1e9, 0.001)
        var text = Human.count(shown, "event") + " shown"
        if counters != nil { text += " (\(Int(Double(shown) / seconds)) a second)" }
        text += ", \(UInt64(filtered) + (counters?.filtered ?? 0)) filtered; lost: "
        if let counters {
            text += "\(counters.lost + counters.candidatesLost) ring full, \(counters.missedRuns) program busy"
        } else {
            text += "\(lost) when it was recorded"
        }
        return text + "; without a path: \(unresolved), with a truncated one: \(truncated)"
    }
}

enum TraceStyle {
    /// Colours and shortened paths are for terminals. https://no-color.org
    static func of(_ options: TraceOptions, isTerminal: Bool) -> TraceTable.Style {
        var style = TraceTable.Style()
        style.times = options.times
        guard isTerminal else { return style }
        let columns = Int(kairos_terminal_columns(STDOUT_FILENO))
        style.columns = columns > 0 ? columns : nil
        style.hasColours = variable("NO_COLOR")?.isEmpty ?? true && !isDumb
        return style
    }

    static var isDumb: Bool { variable("TERM") == "dumb" }

    private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}

/// A file that is there while everything is seen.
struct ReadyFile {
    private let path: String

    init(_ path: String) throws {
        self.path = path
        do {
            let file = try FileDescriptor.open(
                FilePath(path), .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
            _ = try file.closeAfter { try file.writeAll("\(getpid())\n".utf8) }
        } catch {
            throw Output.failure("cannot make the file \(SafeText.line(path)) (--ready-file): \(error)")
        }
    }

    func remove() { unlink(path) }
}

extension SystemClock {
    /// What to add to CLOCK_MONOTONIC to have the wall clock, nanoseconds.
    static func offset() -> Int64 {
        let (seconds, nanoseconds) = wall()
        return seconds &* 1_000_000_000 &+ nanoseconds &- Int64(bitPattern: monotonic())
    }
}
