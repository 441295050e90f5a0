import Datasets
import Glibc
import Scratch
import Subprocess
import Testing
import Tracing

extension IntegrationTests {
    /// A host that was restarted: pools are imported, datasets mounted, and Kairos looks what changed meanwhile.
    @Suite("After an import", .enabled(if: OpenZFS.isInKernel, "zfs-fuse has no `written` that an import changes"))
    struct ImportTests {
        /// Kairos on these, until it has looked at each: the datasets that it snapshotted, with the triggers, by name. They are
        /// compared side by side, and the first to be done is told of first.
        /// It audits meanwhile, each dataset once on average even on a machine so slow that most audits come late.
        private func look(at names: [String], set: ProbeSet) async throws -> [String] {
            let options = ["run", "--json", "--probes", set.rawValue, "--audit", "1s"] + .prompt
            return try await KairosProcess.run(options + names) { kairos in
                let ready = try await kairos.event("ready") { $0.event == "ready" }
                #expect(ready.datasets == names)
                for name in names { try await kairos.settled(name) }
                // Nothing tells of an audit that finds nothing. Seven are due by then, and counted at the end.
                try await Task.sleep(for: .seconds(8))
                let (status, summary) = try await kairos.stop()
                #expect((summary?.audits ?? 0) >= UInt64(names.count), "\(kairos.transcript)")
                #expect(summary?.missed == 0, "\(kairos.transcript)")
                #expect(status.isSuccess, "\(kairos.transcript)")
                #expect(summary?.failures == 0, "\(kairos.transcript)")
                let found = kairos.events.filter { $0.event == "snapshot" }.map {
                    "\($0.dataset ?? "") \($0.trigger ?? "")"
                }
                return found.sorted()
            }
        }

        private func count(_ pool: ScratchPool) async throws -> Int {
            let output = try await pool.command.run(["list", "-H", "-t", "snapshot", "-o", "name", "-r", pool.name])
            return output.count { $0 == UInt8(ascii: "\n") }
        }

        /// The pool's records of all snapshots ever made in it, those that were destroyed included.
        private func ever(_ pool: ScratchPool) async throws -> [Substring] {
            let output = try await pool.command.runPool(["history", "-i", pool.name])
            return String(decoding: output, as: UTF8.self).split(separator: "\n").filter { line in
                line.contains("] snapshot ") && line.contains("@kairos-")
            }
        }

        @Test("what nobody changed gets no snapshot, though ZFS says that something was written; what was changed does")
        func restarted() async throws {
            let set = OpenZFS.sets[0]
            let pool = try await ScratchPool(purpose: "import", datasets: ["synced", "other"])
            do {
                try await pool.command.run(["set", "atime=off", pool.name])
                var names = ["\(pool.name)/other", "\(pool.name)/synced"]
                let volume = set == .zfs ? "\(pool.name)/volume" : nil
                for path in ["synced", "other"].map({ "\(pool.mountPoint)/\($0)/file" }) {
                    let file = try OpenFile(path, O_RDWR | O_CREAT)
                    try call("pwrite64", .descriptor(file.raw), .text("content"), 7, 0)
                    // From here on it has an intent log.
                    if path.contains("synced") { try call("fsync", .descriptor(file.raw)) }
                }
                if let volume {
                    names.append(volume)
                    try await pool.command.run(["create", "-s", "-V", "8M", volume])
                    let device = try OpenFile(try await OpenZFS.device(of: volume), O_RDWR)
                    try call("pwrite64", .descriptor(device.raw), .text("content"), 7, 0)
                    try call("fsync", .descriptor(device.raw))
                }
                var found = try await look(at: names, set: set)
                #expect(found == names.map { $0 + " start" })
                let before = try await count(pool)
                #expect(before == names.count)

                try await imported(pool, volume)
                for name in names.dropFirst() {
                    let written = try await pool.command.run(["get", "-Hpo", "value", "written", name])
                    #expect(String(decoding: written, as: UTF8.self) != "0\n", "nothing is tested of \(name)")
                }
                let made = try await ever(pool).count
                found = try await look(at: names, set: set)
                #expect(found == [])
                #expect(try await count(pool) == before)
                // Each that an import wrote to was compared once, and not by each audit again.
                let now = try await ever(pool)
                #expect(now.count <= made + names.count - 1, "\(now.joined(separator: "\n"))")

                // As little as can be changed, before it is imported and after.
                try call("fchmodat", .here, .text("\(pool.mountPoint)/synced/file"), 0o600)
                try await imported(pool, volume)
                try call("fchmodat", .here, .text("\(pool.mountPoint)/other/file"), 0o600)
                let changed = names.prefix(2).map { $0 + " start" }
                found = try await look(at: names, set: set)
                #expect(found == changed)
                #expect(try await count(pool) == before + 2)
            } catch {
                for line in await pool.destroy() { Issue.record("the pool stays behind: \(line)") }
                throw error
            }
            for line in await pool.destroy() { Issue.record("the pool stays behind: \(line)") }
        }

        /// Exports it and imports it again, up to the volume's device: OpenZFS makes that after the command, and gives up the
        /// volume's intent log then, which is upkeep once more.
        private func imported(_ pool: ScratchPool, _ volume: String?) async throws {
            try await pool.command.runPool(["export", pool.name])
            try await pool.command.runPool(["import", "-o", "cachefile=none", "-d", pool.directory, pool.name])
            if let volume { _ = try await OpenZFS.device(of: volume) }
        }
    }
}
