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
    private let layout: MappedArray

    init() throws {
        let slots = kairos_anonymous_file("slots")
        let devices = kairos_anonymous_file("devices")
        let fields = kairos_anonymous_file("layout")
        defer {
            close(slots)
            close(devices)
            close(fields)
        }
        let size = Int(KAIROS_SLOTS) * MemoryLayout<kairos_slot>.stride
        let places = MemoryLayout<kairos_devices>.stride
        let words = MemoryLayout<kairos_layout>.stride
        try #require(ftruncate(slots, size) == 0 && ftruncate(devices, places) == 0)
        try #require(ftruncate(fields, words) == 0)
        table = SlotTable(
            slots: try MappedArray(descriptor: slots, name: "slots", bytes: size),
            devices: try MappedArray(descriptor: devices, name: "devices", bytes: places),
            layout: LayoutTable(try MappedArray(descriptor: fields, name: "layout", bytes: words)))
        layout = try MappedArray(descriptor: fields, name: "layout", bytes: words)
        programs = try MappedArray(descriptor: slots, name: "slots", bytes: size)
    }

    /// Does what the programs do when ZFS dirties the slot's dataset in this transaction group.
    func dirty(_ slot: Int, in group: UInt64) throws { try store(group, \.dirty_txg, slot) }

    /// Does what a program does that finds a change of the slot's dataset which ZFS did not report.
    func leaveUnreported(_ slot: Int) throws {
        let place = try #require(MemoryLayout<kairos_layout>.offset(of: \.unreported)) + slot * 8
        layout.store64(layout.load64(at: place) + 1, at: place)
    }

    /// The same as `dirty` for access times and upkeep.
    func noise(_ slot: Int, in group: UInt64) throws { try store(group, \.side_effect_txg, slot) }

    private func store(_ group: UInt64, _ field: KeyPath<kairos_slot, UInt64>, _ slot: Int) throws {
        let offset = try #require(MemoryLayout<kairos_slot>.offset(of: field))
        programs.store64(group, at: slot * MemoryLayout<kairos_slot>.stride + offset)
    }
}
