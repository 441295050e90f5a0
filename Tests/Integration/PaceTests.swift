import Glibc
import Scratch
import Snapshots
import Subprocess
import Testing

extension IntegrationTests {
    @Suite("The pace of snapshots")
    struct PaceTests {
        @Test("a dataset that never rests is snapshotted at max-delay's pace, others not at all")
        func maxDelay() async throws {
            let fixture = try Fixture.current()
            let options = ["--quiet", "200ms", "--min-interval", "500ms", "--max-delay", "1s"]
            let names = ["a", "b", Fixture.sentinel].map(fixture.name)
            try await KairosProcess.run(["run", "--json"] + options + names) { kairos in
                try await kairos.ready()
                let start = kairos.events.count
                let file = try OpenFile(fixture.path("a") + "/busy", O_WRONLY | O_CREAT)
                let began = ContinuousClock.now
                var last = began
                var rests = 0
                while last - began < .seconds(5) {
                    try call("pwrite64", .descriptor(file.raw), .bytes(Array("busy".utf8)), 4, 0)
                    try await Task.sleep(for: .milliseconds(10))
                    let now = ContinuousClock.now
                    // The machine may hold the writer up for so long that the dataset does rest.
                    if now - last > .milliseconds(150) { rests += 1 }
                    last = now
                }
                try await kairos.rest(in: fixture)
                let snapshots = kairos.events.dropFirst(start).filter {
                    $0.event == "snapshot" && $0.dataset != fixture.sentinel
                }
                #expect(snapshots.allSatisfy { $0.dataset == fixture.name("a") }, "\(kairos.transcript)")
                // One each second, and one when it came to rest.
                #expect(snapshots.count <= 5 + 1 + rests, "\(kairos.transcript)")
                #expect(snapshots.count >= 3, "\(kairos.transcript)")
                #expect(snapshots.contains { $0.trigger == "max-delay" })
                let times = try snapshots.map { try milliseconds(ofName: $0.snapshot ?? "") }
                for (earlier, later) in zip(times, times.dropFirst()) {
                    #expect(later - earlier >= 500, "closer than min-interval\n\(kairos.transcript)")
                }
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess)
                #expect(summary?.recordsLost == 0)
            }
        }

        /// Milliseconds of the day: `kairos-2026-11-22T09.05.00.123Z`.
        private func milliseconds(ofName name: String) throws -> Int {
            let match = try #require(
                name.wholeMatch(of: /kairos-\d{4}-\d\d-(\d\d)T(\d\d)\.(\d\d)\.(\d\d)\.(\d{3})Z/), "\(name)")
            let (_, day, hour, minute, second, part) = match.output
            let parts = [day, hour, minute, second].compactMap { Int($0) }
            return (((parts[0] * 24 + parts[1]) * 60 + parts[2]) * 60 + parts[3]) * 1000 + (Int(part) ?? 0)
        }
    }
}
