import Testing

@testable import Policy

@Suite("The budget of snapshots")
struct SnapshotBudgetTests {
    @Test("pauses begin at four fifths, grow with each snapshot, and end at an hour")
    func pauses() {
        let budget = SnapshotBudget.standard
        #expect(budget.pause(1599) == nil && budget.level(1599) == .free)
        #expect(budget.pause(1600) == .seconds(1) && budget.level(1600) == .near)
        var last = Duration.zero
        for count in 1600...2000 {
            let pause = budget.pause(count) ?? .zero
            #expect(pause > last && pause <= .seconds(3600), "\(count)")
            last = pause
        }
        #expect(budget.pause(2000) == .seconds(3600) && budget.level(2000) == .spent)
        #expect(budget.pause(.max) == .seconds(3600))
    }

    @Test("an hour of changes each second makes no more than the budget and a few")
    func storm() {
        // From 1,500 snapshots on, a day of changes without a pause.
        let budget = SnapshotBudget.standard
        var (count, time) = (1500, Duration.zero)
        while time < .seconds(86_400) {
            time += max(.seconds(1), budget.pause(count) ?? .zero)
            count += 1
        }
        #expect(count < 2030, "\(count)")
    }

    @Test("settings that were in order stay so", arguments: [1, 60, 3600])
    func settings(seconds: Int) throws {
        let slow = Settings().paced(.seconds(seconds))
        try slow.validated()
        #expect(slow.minInterval == .seconds(seconds) && slow.maxDelay >= slow.minInterval)
        #expect(Settings().paced(nil) == Settings())
    }

    @Test("what is no number is none", arguments: ["", "9", "-1", "1e3", "10000000", "99999999999999999999", "12 "])
    func refused(text: String) { #expect(SnapshotBudget(parsing: text) == nil) }
}
