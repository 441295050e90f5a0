import Datasets
import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    /// Some of the datasets that are named cannot be watched, or all of them are more than the usual limits allow.
    @Suite("Several datasets")
    struct ManyTests {
        @Test("one that is missing, not mounted or locked does not stop the others, and the exit status tells")
        func oneIsBad() async throws {
            let fixture = try Fixture.current()
            let good = fixture.name("a")
            let bad = [fixture.name("dark"), fixture.name("nowhere"), fixture.name("locked")]
            try await fixture.zfs("create", fixture.name("dark"))
            try await fixture.zfs("create", fixture.name("locked"))
            try await fixture.patiently("unmount", fixture.name("dark"))
            try await KairosProcess.run(["run", "--json"] + .prompt + [fixture.name("locked")]) { holder in
                try await holder.ready()
                try await KairosProcess.run(["run", "--json"] + .prompt + bad + [good]) { kairos in
                    try await kairos.event("ready") { $0.event == "ready" }
                    let texts = kairos.events.filter { $0.event == "warning" }.compactMap(\.text)
                    for name in bad {
                        #expect(texts.contains { $0.contains(name) }, "\(name): \(kairos.transcript)")
                    }
                    let start = kairos.events.count
                    try write("text", to: fixture.path("a") + "/in spite of the others")
                    try await kairos.event("a snapshot", from: start) {
                        $0.event == "snapshot" && $0.dataset == good && $0.changes != [:]
                    }
                    let (status, summary) = try await kairos.stop()
                    #expect(status == .exited(1), "\(kairos.transcript)")
                    #expect(summary?.notWatched == bad.sorted())
                    #expect(summary?.leftAtRisk == [])
                }
                #expect(try await holder.stop().status.isSuccess)
            }
        }

        @Test("one that comes later is watched then, and the exit status knows")
        func comesLater() async throws {
            let fixture = try Fixture.current()
            let names = [fixture.name("a"), fixture.name("later")]
            try await KairosProcess.run(["run", "--json"] + .prompt + names) { kairos in
                try await kairos.event("ready") { $0.event == "ready" }
                let start = kairos.events.count
                try await fixture.zfs("create", names[1])
                try await kairos.event("its watch", from: start) { $0.text?.contains("watching \(names[1])") == true }
                try write("text", to: fixture.path("later") + "/file")
                try await kairos.event("a snapshot", from: start) {
                    $0.event == "snapshot" && $0.dataset == names[1]
                }
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess, "\(kairos.transcript)")
                #expect(summary?.notWatched == [])
            }
        }

        @Test("more than there are descriptors for by default")
        func descriptors() async throws {
            let fixture = try Fixture.current()
            let count = 40
            for number in 0..<count { try await fixture.zfs("create", fixture.name("many\(number)")) }
            // With 64 there is one for each lock, and none for the pipes of the checks that follow.
            let wrapper = ["/usr/bin/prlimit", "--nofile=64:"]
            let names = (0..<count).map { fixture.name("many\($0)") }
            try await KairosProcess.run(["run", "--json"] + .prompt + names, wrapper: wrapper) { kairos in
                for name in names {
                    try await kairos.event("a look at \(name)") {
                        $0.dataset == name && ($0.event == "snapshot" || $0.event == "unchanged")
                    }
                }
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess, "\(kairos.transcript)")
                #expect(summary?.failures == 0)
            }
            for number in 0..<count { try await fixture.patiently("destroy", "-r", fixture.name("many\(number)")) }
        }

        @Test("their checks begin a few at a time")
        func checksAtOnce() async throws {
            let fixture = try Fixture.current()
            let count = 24
            let directory = fixture.pool.directory + "/counted"
            try makeDirectory(directory + "/running")
            // Writes down how many of it run, each time that one begins.
            let zfs = directory + "/counted-zfs"
            try write(
                """
                #!/bin/sh
                : >"${0%/*}/running/$$"
                ls "${0%/*}/running" | wc -l >>"${0%/*}/log"
                '\(fixture.pool.command.zfs)' "$@"
                status=$?
                rm -f "${0%/*}/running/$$"
                exit $status

                """, to: zfs, mode: 0o755)
            for number in 0..<count { try await fixture.zfs("create", fixture.name("few\(number)")) }
            let names = (0..<count).map { fixture.name("few\($0)") }
            try await KairosProcess.run(["run", "--json", "--zfs-command", zfs] + .prompt + names) { kairos in
                for name in names {
                    try await kairos.event("a look at \(name)") { $0.dataset == name && $0.event != "failure" }
                }
                #expect(try await kairos.stop().status.isSuccess)
            }
            let log = String(decoding: try contents(of: directory + "/log"), as: UTF8.self)
            let most = log.split(separator: "\n").compactMap { Int($0.filter(\.isNumber)) }.max() ?? 0
            // Eight checks, a snapshot of what they found, a list, and a count of snapshots.
            #expect((1...11).contains(most), "\(most) at once")
            for name in names { try await fixture.patiently("destroy", "-r", name) }
        }
    }
}
