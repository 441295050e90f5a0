import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    @Suite("kairos doctor --report")
    struct DoctorTests {
        @Test("one text file: kernel, types, logs; no names")
        func report() async throws {
            let fixture = try Fixture.current()
            let path = fixture.pool.directory + "/report.txt"
            // In a UTS namespace with a host name that cannot appear by chance.
            let named = ["/usr/bin/unshare", "--uts", "/bin/sh", "-c", #"hostname secret-host && exec "$@""#, "sh"]
            let first = try await KairosProcess.output(["doctor", "--report", path], wrapper: named)
            #expect(first.status == .exited(0) && first.stdout.isEmpty, "\(first)")
            let text = String(decoding: try contents(of: path), as: UTF8.self)
            var name = utsname()
            uname(&name)
            func field<T>(_ value: T) -> String {
                withUnsafeBytes(of: value) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            }
            #expect(text.contains("Linux \(field(name.release)) "))
            for set in ["zfs", "vfs", "syscalls"] { #expect(text.contains("== probe set \(set)\n")) }
            // Of a set that loads: where its accesses were found.
            #expect(text.contains("relo #0:") && text.contains("struct task_struct"))
            #expect(text.contains("loads, attaches and fires"))
            #expect(!text.contains("secret-host"))
            #expect(!text.contains(fixture.pool.name) && !text.contains(fixture.pool.directory))

            let second = try await KairosProcess.output(["doctor", "--report", path])
            #expect(second.status == .exited(2) && second.stderr.contains("is there already"), "\(second)")
            #expect(String(decoding: try contents(of: path), as: UTF8.self) == text)
            unlink(path)
        }
    }
}
