import CBPFObjects
import CLinux
import Glibc
import Testing

@testable import BPF
@testable import Tracing

/// A slot table in plain memory, where a test plays the programs' part.
final class SlotMemory: Sendable {
    let table: SlotTable
    private let programs: MappedArray

    init() throws {
        let slots = kairos_anonymous_file("slots")
        let devices = kairos_anonymous_file("devices")
        defer {
            close(slots)
            close(devices)
        }
        let size = Int(KAIROS_SLOTS) * MemoryLayout<kairos_slot>.stride
        let places = MemoryLayout<kairos_devices>.stride
        try #require(ftruncate(slots, size) == 0 && ftruncate(devices, places) == 0)
        table = SlotTable(
            slots: try MappedArray(descriptor: slots, name: "slots", bytes: size),
            devices: try MappedArray(descriptor: devices, name: "devices", bytes: places))
        programs = try MappedArray(descriptor: slots, name: "slots", bytes: size)
    }

    /// Does what the programs do when ZFS dirties the slot's dataset in this transaction group.
    func dirty(_ slot: Int, in group: UInt64) throws { try store(group, \.dirty_txg, slot) }

    /// The same for access times and upkeep.
    func noise(_ slot: Int, in group: UInt64) throws { try store(group, \.noise_txg, slot) }

    private func store(_ group: UInt64, _ field: KeyPath<kairos_slot, UInt64>, _ slot: Int) throws {
        let offset = try #require(MemoryLayout<kairos_slot>.offset(of: field))
        programs.store64(group, at: slot * MemoryLayout<kairos_slot>.stride + offset)
    }
}
