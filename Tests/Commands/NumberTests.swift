import ArgumentParser
import Datasets
import Testing

@testable import Commands

@Suite("Numbers from outside")
struct NumberTests {
    @Test("the status line fits every terminal, also one that is gone", arguments: [-1, 0, 1, 2, 5, 80, Int.max])
    func statusLine(columns: Int) {
        let line = TextRunRenderer.fit("1 dataset", columns: columns)
        #expect(line.count <= max(columns - 1, 0))
        if columns > 9 { #expect(line == "1 dataset") }
    }

    @Test("every moment of a snapshot has a text, up to the end of 9999")
    func moments() throws {
        let options = try LookOptions.parse(["--utc"])
        #expect(options.text(Timestamp(milliseconds: 1_795_338_300_123)) == "2026-11-22 09:05:00")
        #expect(options.text(.earliest) == "1970-01-01 00:00:00")
        // The last second that 64 bits of nanoseconds hold.
        #expect(options.text(.latest) == "2262-04-11 23:47:16")
    }
}
