import Testing

@testable import TestSupport

@Suite("The seeds of random tests")
struct TestSeedsTests {
    @Test("are fixed, unless fresh ones are asked for, or one alone")
    func choice() {
        let fixed: [UInt64] = [1, 2]
        #expect(TestSeeds.of(fixed, one: nil, fresh: nil) { 9 } == fixed)
        #expect(TestSeeds.of(fixed, one: nil, fresh: 3) { 9 } == [9, 9, 9])
        #expect(TestSeeds.of(fixed, one: 7, fresh: 3) { 9 } == [7])
    }

    @Test("can be given as a failure prints them")
    func numbers() {
        #expect(TestSeeds.number("42") == 42 && TestSeeds.number("0xdeadbeef") == 0xdead_beef)
        #expect(TestSeeds.number("soon") == nil)
    }
}
