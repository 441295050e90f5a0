import Bench
import Datasets
import Glibc
import Policy
import Scratch
import Snapshots
import Subprocess
import SystemPackage
import TestSupport
import Testing

extension IntegrationTests {
    @Suite("The simulator and the daemon")
    struct ReplayTests {
        /// Bursts of writes, files that are replaced, deleted and made, with pauses that are clearly shorter or longer than the
        /// quiet time.
        private func work(in directory: String, quiet: Duration, _ random: inout SplitMix64) async throws {
            for burst in 0..<12 {
                for _ in 0..<Int.random(in: 2...6, using: &random) {
                    let name = directory + "/file-\(Int.random(in: 0..<4, using: &random))"
                    let size = Int.random(in: 1...20_000, using: &random)
                    try write(String(repeating: "x", count: size), to: name + ".new")
                    try call("renameat", .here, .text(name + ".new"), .here, .text(name))
                    if Int.random(in: 0..<4, using: &random) == 0 { try call("unlinkat", .here, .text(name), 0) }
                    try await Task.sleep(for: .milliseconds(Int.random(in: 1...100, using: &random)))
                }
                // One burst that is longer than max-delay.
                let isLast = burst == 11
                if burst != 5, !isLast { try await Task.sleep(for: quiet * 3) }
                if burst == 5 {
                    for step in 0..<60 {
                        try write("\(step)", to: directory + "/busy")
                        try await Task.sleep(for: .milliseconds(100))
                    }
                }
            }
        }

        @Test("the same day, lived and simulated: as many snapshots, as long at risk, within 5 %")
        func agreement() async throws {
            let fixture = try Fixture.current()
            let settings = Settings(quiet: .seconds(1), maxDelay: .seconds(3), minInterval: .milliseconds(100))
            let options = ["--quiet", "1s", "--max-delay", "3s", "--min-interval", "100ms"]
            let recording = fixture.path("b") + "/day.trace"
            defer { unlink(recording) }
            let name = fixture.name("a")
            var random = SplitMix64(seed: 20)
            var snapshots: [KairosEvent] = []
            try await KairosProcess.run(["run", "--json"] + options + [name]) { kairos in
                try await kairos.ready()
                _ = await wait(for: .seconds(60)) {
                    kairos.events.contains { ["snapshot", "unchanged"].contains($0.event) && $0.dataset == name }
                }
                let start = kairos.events.count
                _ = try await TraceRun.lines(["--op", "all", "--record", recording, fixture.path("a")]) { _ in
                    try await work(in: fixture.path("a"), quiet: settings.quiet, &random)
                }
                let rested = await wait(for: .seconds(60)) {
                    let last = kairos.events.last { $0.event == "snapshot" && $0.dataset == name }
                    return last?.trigger == "quiet" || last?.trigger == "check"
                }
                #expect(rested, "\(kairos.transcript)")
                let (status, _) = try await kairos.stop()
                #expect(status.isSuccess, "\(kairos.transcript)")
                snapshots = kairos.events.dropFirst(start).filter { $0.event == "snapshot" && $0.dataset == name }
            }
            let day = try RecordedDay(recording, only: [name])
            #expect(day.lost == 0 && day.damage.isEmpty)
            let history = try #require(day.histories.first)
            let lived = try snapshots.map { event in
                let time = try #require(SnapshotName(parsing: event.snapshot ?? "")?.time)
                let captured = UInt64(time.milliseconds * 1_000_000 - day.wallOffset)
                return TakenAt(captured: captured, finished: captured + UInt64(event.engineMs ?? 0) * 1_000_000)
            }
            // How long ZFS takes is not the policy's to know.
            let cost = snapshots.compactMap(\.engineMs).sorted()
            let median = Duration.milliseconds(try #require(cost.isEmpty ? nil : cost[cost.count / 2]))
            let simulated = Simulation(snapshotTime: median, checkTime: median, wallOffset: day.wallOffset)
                .snapshots(of: history, by: .kairos(settings))
            let (real, model) = (Measures(of: history, lived), Measures(of: history, simulated))
            let said = Comment("lived \(lived)\nsimulated \(simulated)\n\(history.changes)")
            #expect(real.uncaptured == 0 && real.empty == 0, said)
            #expect(isNear(Double(model.snapshots), Double(real.snapshots)), said)
            let windows = [real, model].map { (measured: Measures) in Double(measured.window(quantile: 0.5) ?? 0) }
            #expect(isNear(windows[1], windows[0]), "\(windows) \(said)")
        }

        private func isNear(_ one: Double, _ other: Double) -> Bool { abs(one - other) <= 0.05 * other }
    }
}
