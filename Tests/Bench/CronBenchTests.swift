import Glibc
import TestSupport
import Testing

@testable import Bench

@Suite("bench cron")
struct CronBenchTests {
    private static let models = WorkloadModel.everything

    @Test("Every workload can be done, ends in time, and follows from its seed", arguments: models.map(\.name))
    func scripts(_ name: String) throws {
        let model = try #require(WorkloadModel.named(name))
        for seed: UInt64 in 0..<3 {
            for length in [60.0, 4_000] {
                // That each action can be done where it is done is what making a script checks.
                let script = try model.script(seed: seed, length: length)
                let times = script.steps.map(\.planned.time)
                #expect(times == times.sorted() && times.allSatisfy { $0 > 0 && $0 < length })
            }
        }
        let one = try model.script(seed: 7, length: 4_000).steps
        #expect(one.map(\.planned) == (try model.script(seed: 7, length: 4_000).steps.map(\.planned)))
        #expect(one.map(\.planned) != (try model.script(seed: 8, length: 4_000).steps.map(\.planned)))
        #expect(!one.isEmpty)
    }

    @Test("What is on disk after each prefix of a script has the digest that was foretold")
    func digests() throws {
        var template = Array("/tmp/kairos-bench-test-XXXXXX".utf8CString)
        #expect(mkdtemp(&template) != nil)
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { Self.remove(directory) }
        let whole = try WorkloadModel.crowd.script(seed: 3, length: 1_800)
        let preparing = try ScriptRunner(whole, in: [directory])
        try preparing.prepare()
        #expect(try TreeDigest(reading: directory) == whole.start)
        var random = SplitMix64(seed: 5)
        var done = 0
        var seen: Set<UInt64> = [whole.start.value]
        while done < whole.steps.count {
            let next = min(done + Int.random(in: 1...40, using: &random), whole.steps.count)
            var part = whole
            part.steps = Array(whole.steps[done..<next])
            let outcome = try ScriptRunner(part, in: [directory]).run(from: 0, scale: 1e9)
            #expect(outcome.failure == nil && outcome.moments[0].count == next - done)
            let digest = try TreeDigest(reading: directory)
            #expect(digest == whole.steps[next - 1].digest, "after step \(next)")
            seen.insert(digest.value)
            done = next
        }
        #expect(seen.count > 20)
    }

    @Test("The order of the directories is drawn for each action, and is the same again by its seed")
    func orders() throws {
        func orders(_ seed: UInt64) throws -> [[Int]] {
            let directories = (0..<3).map { _ in
                var template = Array("/tmp/kairos-bench-test-XXXXXX".utf8CString)
                #expect(mkdtemp(&template) != nil)
                return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            }
            defer { directories.forEach(Self.remove) }
            let runner = try ScriptRunner(
                try WorkloadModel.documents.script(seed: 3, length: 1_800), in: directories, seed: seed)
            try runner.prepare()
            let moments = runner.run(from: 0, scale: 1e9).moments
            return moments[0].indices.map { step in
                (0..<3).sorted { moments[$0][step].began < moments[$1][step].began }
            }
        }
        let (one, again, other) = (try orders(1), try orders(1), try orders(2))
        #expect(one == again && one != other)
        #expect(Set(one).count == 6, "each of all orders")
        // Who comes after whom changes: by turns of one, two thirds would always be the same.
        #expect(Set(one.map { [$0[0], $0[1]] }).count == 6)
    }

    @Test("A digest tells names, kinds, sizes and content apart, and not the order of changes")
    func distinct() {
        func file(_ bytes: [UInt8]) -> FileDigest { bytes.withUnsafeBytes { FileDigest($0) } }
        var digests: [UInt64] = []
        for content in [[], [0], [0, 0], [UInt8](repeating: 0, count: 4096), [UInt8](repeating: 0, count: 4097)] {
            for path in ["a", "b", "a/b"] {
                var tree = TreeDigest()
                tree.add(path, file: file(content))
                digests.append(tree.value)
            }
        }
        var directory = TreeDigest()
        directory.add(directory: "a")
        digests += [directory.value, TreeDigest().value]
        #expect(Set(digests).count == digests.count)
        // Blocks that change places are another file.
        let (one, two) = ([UInt8](repeating: 1, count: 4096), [UInt8](repeating: 2, count: 4096))
        #expect(file(one + two) != file(two + one))
        var tree = TreeDigest()
        tree.add("b", file: file(one))
        tree.add("a", file: file(two))
        var other = TreeDigest()
        other.add("a", file: file(two))
        other.add("c", file: file(one))
        other.add("b", file: file(one))
        other.remove("c", file: file(one))
        #expect(tree == other)
    }

    @Test("A file's digest after any changes is that of its content")
    func updates() {
        var random = SplitMix64(seed: 11)
        for _ in 0..<300 {
            var content: [UInt8] = []
            var digest = FileDigest()
            for _ in 0..<8 {
                if Int.random(in: 0..<4, using: &random) == 0 {
                    content.removeLast(Int.random(in: 0...content.count, using: &random))
                    content.withUnsafeBytes { digest.update($0, from: 0) }
                } else {
                    let offset = Int.random(in: 0...content.count, using: &random)
                    let count = Int.random(in: 0...9000, using: &random)
                    content += [UInt8](repeating: 0, count: max(0, offset + count - content.count))
                    for index in offset..<offset + count { content[index] = UInt8.random(in: 0...255, using: &random) }
                    content.withUnsafeBytes { digest.update($0, from: offset, to: offset + count) }
                }
                #expect(digest == content.withUnsafeBytes { FileDigest($0) })
            }
        }
    }

    /// What the tests made, and nothing else: no links are followed.
    private static func remove(_ directory: String) {
        guard let stream = opendir(directory) else { return }
        var names: [String] = []
        while let entry = readdir(stream) {
            names.append(
                withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        }
        closedir(stream)
        for name in names where name != "." && name != ".." {
            if unlink(directory + "/" + name) != 0 { remove(directory + "/" + name) }
        }
        rmdir(directory)
    }
}
