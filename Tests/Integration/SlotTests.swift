import CTestSupport
import Datasets
import Glibc
import SystemPackage
import Testing
import Tracing

extension IntegrationTests {
    /// With the programs loaded by the test itself: they take no notice of its own changes, only of a child's.
    @Suite("Slots and the devices that lead to them")
    struct SlotTests {
        private func device(of dataset: String, in fixture: Fixture) throws -> DeviceNumber {
            try #require(DeviceNumber(stDevice: UInt64(status(of: fixture.path(dataset)).st_dev)))
        }

        /// Devices whose search begins at the same place of the table as this one's, which no superblock has.
        private func neighbours(of device: DeviceNumber, _ count: Int) -> [DeviceNumber] {
            let hash = { (kernel: UInt32) in (kernel &* 0x9E37_79B1) >> 20 }
            let first = UInt32(0xF00) << 20
            let numbers = (first...).lazy.filter {
                hash($0) == hash(device.kernel) && $0 != device.kernel
            }
            return numbers.prefix(count).map { DeviceNumber(kernel: $0) }
        }

        private func change(_ dataset: String, in fixture: Fixture) throws {
            let place = Place(directory: fixture.path(dataset))
            let name = "slot"
            do {
                try call("mkdirat", .here, .text(name), 0o755, from: place)
            } catch let error as CallError where error.errno == .fileExists {
                try call("unlinkat", .here, .text(name), .flags(AT_REMOVEDIR), from: place)
            }
        }

        @Test("a change marks its slot, until the epoch moves on")
        func marks() throws {
            let fixture = try Fixture.current()
            let probes = try Probes(.syscalls, mode: .watch)
            let device = try device(of: "a", in: fixture)
            probes.slots.reset(5, wakesAtCommit: false, wakesAtRecords: false)
            #expect(probes.add(device, slot: 5))
            #expect(!probes.read(5).isDirty)
            let before = SystemClock.monotonic()
            try change("a", in: fixture)
            let after = SystemClock.monotonic()
            let slot = probes.read(5)
            #expect(slot.isDirty)
            #expect(slot.changes == 1)
            #expect((before...after).contains(slot.first))
            #expect(slot.last == slot.first)
            try change("b", in: fixture)
            #expect(probes.read(5) == slot)
            probes.slots.advanceEpoch(5)
            #expect(!probes.read(5).isDirty)
            try change("a", in: fixture)
            #expect(probes.read(5).isDirty)
            #expect(probes.read(5).changes == 2)
        }

        @Test("a device that was removed, or moved to another slot, marks the old one no more")
        func moves() throws {
            let fixture = try Fixture.current()
            let probes = try Probes(.syscalls, mode: .watch)
            let device = try device(of: "a", in: fixture)
            for slot in 0..<2 { probes.slots.reset(slot, wakesAtCommit: false, wakesAtRecords: false) }
            #expect(probes.add(device, slot: 0))
            #expect(probes.add(device, slot: 1))
            try change("a", in: fixture)
            #expect(!probes.read(0).isDirty)
            #expect(probes.read(1).isDirty)
            // The slot that it led to before has no say any more.
            probes.slots.remove(device, slot: 0)
            probes.slots.advanceEpoch(1)
            try change("a", in: fixture)
            #expect(probes.read(1).isDirty)
            probes.slots.remove(device, slot: 1)
            probes.slots.advanceEpoch(1)
            try change("a", in: fixture)
            #expect(!probes.read(0).isDirty)
            #expect(!probes.read(1).isDirty)
        }

        @Test("devices that share a place: eight fit, and each is found when others go")
        func collisions() throws {
            let fixture = try Fixture.current()
            let probes = try Probes(.syscalls, mode: .watch)
            let device = try device(of: "a", in: fixture)
            let others = neighbours(of: device, 8)
            try #require(others.count == 8)
            probes.slots.reset(0, wakesAtCommit: false, wakesAtRecords: false)
            for other in others.prefix(7) { #expect(probes.add(other, slot: 9)) }
            #expect(probes.add(device, slot: 0))
            #expect(!probes.add(others[7], slot: 9), "there is room for eight")
            try change("a", in: fixture)
            #expect(probes.read(0).isDirty)
            #expect(probes.read(9).changes == 0)
            // Those before it leave holes, which must not end the search.
            for other in others.prefix(7) {
                probes.slots.remove(other, slot: 9)
                probes.slots.advanceEpoch(0)
                try change("a", in: fixture)
                #expect(probes.read(0).isDirty)
            }
            #expect(probes.add(others[7], slot: 9), "a hole is filled again")
            #expect(probes.add(device, slot: 0))
            probes.slots.remove(device, slot: 0)
            probes.slots.advanceEpoch(0)
            try change("a", in: fixture)
            #expect(!probes.read(0).isDirty, "it had one place only")
        }
    }
}

/// `#expect` takes no calls on a table that cannot be copied.
extension Probes {
    fileprivate func add(_ device: DeviceNumber, slot: Int) -> Bool { slots.add(device, slot: slot) }
    fileprivate func read(_ slot: Int) -> SlotReading { slots.read(slot) }
}
