import Datasets
import TestSupport
import Testing

@testable import Snapshots

@Suite struct TimestampTests {
    @Test(arguments: [
        (Int64(0), "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        (1_795_338_300_123, "2026-11-22T09:05:00.123Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ])
    func calendar(milliseconds: Int64, text: String) {
        let time = Timestamp(milliseconds: milliseconds)
        #expect(time.rfc3339 == text)
        #expect(Timestamp(rfc3339: text) == time)
        #expect(Timestamp(nameText: time.nameText) == time)
        #expect(time.nameText.utf8.count == 24)
    }

    @Test func clamps() {
        #expect(Timestamp(milliseconds: -1) == .earliest)
        #expect(Timestamp(milliseconds: .max) == .latest)
        #expect(Timestamp(milliseconds: .min) == .earliest)
        #expect(Timestamp(seconds: .max, nanoseconds: .max) == .latest)
        #expect(Timestamp(seconds: .min, nanoseconds: .min) == .earliest)
        #expect(Timestamp(seconds: 1, nanoseconds: 999_999_999).milliseconds == 1999)
        #expect(Timestamp(seconds: -5, nanoseconds: 999_999_999) == .earliest)
        #expect(Timestamp.latest.next == .latest)
    }

    @Test(arguments: [
        "", "2026-11-22T09:05:00Z", "2026-02-29T00:00:00.000Z", "2026-13-01T00:00:00.000Z", "2026-00-01T00:00:00.000Z",
        "2026-04-31T00:00:00.000Z", "2026-01-00T00:00:00.000Z", "2026-01-01T24:00:00.000Z", "2026-01-01T00:60:00.000Z",
        "2026-01-01T00:00:60.000Z", "2026-01-01t00:00:00.000Z", "2026-01-01T00:00:00.000z", "2026-01-01T00.00.00.000Z",
        "1969-12-31T23:59:59.999Z", "+026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.00éZ", "2026-01-01T00:00:00.000Zx",
        "0000-00-00T00:00:00.000Z",
    ])
    func refused(text: String) {
        #expect(Timestamp(rfc3339: text) == nil)
    }

    @Test(arguments: TestSeeds.of(1))
    func randomRoundTrips(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<5000 {
            let time = Timestamp(milliseconds: Int64.random(in: 0...Timestamp.latest.milliseconds, using: &random))
            #expect(Timestamp(rfc3339: time.rfc3339) == time)
            let other = Timestamp(milliseconds: Int64.random(in: 0...Timestamp.latest.milliseconds, using: &random))
            #expect((time < other) == (time.nameText < other.nameText))
        }
    }
}

@Suite struct SnapshotNameTests {
    @Test func formAndParsing() throws {
        let name = SnapshotName(time: Timestamp(milliseconds: 1_795_338_300_123))
        #expect(name.text == "kairos-2026-11-22T09.05.00.123Z")
        #expect(SnapshotName(parsing: name.text) == name)
        #expect(SnapshotName(parsing: "tank/a@" + name.text) == name)
        #expect(SnapshotName(parsing: "other-2026-11-22T09.05.00.123Z") == nil)
        #expect(SnapshotName(parsing: "kairos-2026-11-22T09.05.00.123Z-x") == nil)
        #expect(SnapshotName(parsing: "") == nil)
        let prefix = try SnapshotPrefix("hourly_")
        #expect(SnapshotName(parsing: "hourly_2026-11-22T09.05.00.123Z", prefix: prefix)?.time == name.time)
        #expect(SnapshotName(parsing: name.text, prefix: prefix) == nil)
        #expect(name.next.text == "kairos-2026-11-22T09.05.00.124Z")
        for scalar in name.text.unicodeScalars { #expect(DatasetName.isLegal(scalar)) }
    }

    @Test(arguments: [
        ("", SnapshotPrefix.Fault.empty), ("a b", .character(" ")), ("a@", .character("@")), ("é", .character("é")),
        ("a/b", .character("/")), ("zfs-diff-1", .zfsDiff), (String(repeating: "x", count: 31), .tooLong(31)),
    ])
    func prefixes(text: String, fault: SnapshotPrefix.Fault) {
        #expect(throws: fault) { try SnapshotPrefix(text) }
        #expect(!fault.description.isEmpty)
    }

    @Test func lengths() {
        let name = SnapshotName(time: .earliest)
        // "kairos-" and 24 bytes of time: 31, and the @.
        #expect(name.full(dataset: String(repeating: "a", count: 223))?.utf8.count == 255)
        #expect(name.full(dataset: String(repeating: "a", count: 224)) == nil)
        #expect(name.full(dataset: "tank/a;b") == nil)
    }

    @Test func uniqueWithinAMillisecondAndWhenTheClockGoesBackALittle() {
        var namer = SnapshotNamer()
        let clock: [(Int64, Int64)] = [
            (100, 5_000_000), (100, 5_999_999), (100, 5_000_000), (50, 0), (41, 0), (100, 9_000_000), (200, 0),
        ]
        let names = clock.map { namer.next(wallClock: (seconds: $0.0, nanoseconds: $0.1)) }
        #expect(names.map(\.time.milliseconds) == [100_005, 100_006, 100_007, 100_008, 100_009, 100_010, 200_000])
        #expect(names.map(\.text) == names.map(\.text).sorted())
        #expect(names == names.sorted())
        #expect(Set(names.map(\.text)).count == names.count)
    }

    @Test("names follow a clock that was a year ahead and is set back")
    func clockAhead() {
        var namer = SnapshotNamer()
        let clock: [Int64] = [1_000, 31_537_000, 31_537_001, 1_010, 1_010, 1_011]
        let names = clock.map { namer.next(wallClock: (seconds: $0, nanoseconds: 0)) }
        #expect(
            names.map(\.time.milliseconds) == [
                1_000_000, 31_537_000_000, 31_537_001_000, 1_010_000, 1_010_001, 1_011_000,
            ])
        // The engine reports late what it took while the clock was ahead.
        namer.note(names[2])
        #expect(namer.next(wallClock: (seconds: 1_012, nanoseconds: 0)).time.milliseconds == 1_012_000)
    }

    @Test func notes() {
        var namer = SnapshotNamer(last: Timestamp(milliseconds: 10))
        #expect(namer.next(at: .earliest).time.milliseconds == 11)
        namer.note(SnapshotName(time: Timestamp(milliseconds: 20)))
        namer.note(SnapshotName(time: Timestamp(milliseconds: 15)))
        #expect(namer.next(at: .earliest).time.milliseconds == 21)
    }
}

@Suite struct PropertyTests {
    @Test func names() {
        for name in ["kairos:trigger", "a:b+c._-1"] { #expect(SnapshotProperty(name: name, value: "x")?.name == name) }
        for name in ["", "quota", "A:b", "a:b c", "a:b=c", "-o:x", "é:a", String(repeating: "a", count: 255) + ":"] {
            #expect(SnapshotProperty(name: name, value: "x") == nil)
        }
    }

    @Test func values() {
        #expect(SnapshotProperty.sanitised("a\nb\u{1B}é") == #"a\u{A}b\u{1B}é"#)
        #expect(SnapshotProperty.sanitised(String(repeating: "a", count: 1024)).utf8.count == 1024)
        for text in [
            String(repeating: "a", count: 1025), String(repeating: "é", count: 5000),
            String(repeating: "\n", count: 300),
            String(repeating: "a", count: 1023) + "é",
        ] {
            let short = SnapshotProperty.sanitised(text)
            #expect(short.utf8.count <= 1024)
            #expect(short.utf8.count > 1010)
            #expect(short.hasSuffix("…"))
            #expect(short.unicodeScalars.allSatisfy(SafeText.isPrintable))
        }
    }

    @Test func counts() {
        var counts: ChangeCounts = [.write: 12, .create: 3, .rename: 0]
        #expect(counts.description == "create=3 write=12")
        #expect(ChangeCounts(parsing: counts.description) == counts)
        counts.add(.write, .max)
        #expect(counts[.write] == .max)
        #expect(counts.total == .max)
        #expect(
            ChangeCounts(parsing: "write=1 write=2 x=3 create create= unlink=-1 =  rmdir=1=2 store=4") == [
                .write: 3, .store: 4,
            ])
        #expect(ChangeCounts().isEmpty)
        #expect(ChangeCounts(parsing: "").description.isEmpty)
    }

    @Test func thereAndBack() throws {
        let properties = SnapshotProperties(
            trigger: .maxDelay, changes: [.write: 2], firstChange: Timestamp(milliseconds: 1), lastChange: .latest
        )
        #expect(
            properties.properties.map(\.argument) == [
                "kairos:trigger=max-delay", "kairos:changes=write=2", "kairos:first-change=1970-01-01T00:00:00.001Z",
                "kairos:last-change=9999-12-31T23:59:59.999Z",
            ]
        )
        let values = Dictionary(uniqueKeysWithValues: properties.properties.map { ($0.name, $0.value) })
        #expect(SnapshotProperties(reading: values) == properties)
        #expect(SnapshotProperties(reading: [:]) == nil)
        let group = try #require(SnapshotProperties(reading: ["kairos:trigger": "group"]))
        #expect(group.trigger == nil)
        #expect(group.properties.map(\.argument) == ["kairos:trigger=group"])
    }
}
