import Datasets

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A directory of its own with a `zfs` and a `zpool` that record how they are called and answer as they are told.
/// It goes away with the last reference to it.
package final class FakeZFS: Sendable {
    package let directory: String

    /// Each call writes its arguments, NUL after each, and its environment to files; then the answer of that call's
    /// number is run, or the default one.
    private static let script = """
        #!/bin/sh
        dir=${0%/*}
        read -r n < "$dir/count"
        n=$((n + 1))
        echo $n > "$dir/count"
        printf '%s\\0' "${0##*/}" "$@" > "$dir/call.$n"
        env > "$dir/env.$n"
        if [ -f "$dir/answer.$n" ]; then . "$dir/answer.$n"; elif [ -f "$dir/answer" ]; then . "$dir/answer"; fi
        """

    package init() throws {
        var template = Array("/tmp/kairos-fake-zfs-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else { throw FakeError(what: "mkdtemp", errno: errno) }
        directory = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try write("count", "0\n")
        for name in ["zfs", "zpool"] {
            try write(name, Self.script + "\n")
            guard chmod(directory + "/" + name, 0o755) == 0 else { throw FakeError(what: "chmod", errno: errno) }
        }
    }

    deinit {
        guard let handle = opendir(directory) else { return }
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { unlink(directory + "/" + name) }
        }
        closedir(handle)
        rmdir(directory)
    }

    /// The command of this directory, trusted as it is.
    package func command(timeLimit: Duration? = .seconds(180)) -> ZFSCommand {
        ZFSCommand(zfs: directory + "/zfs", zpool: directory + "/zpool", timeLimit: timeLimit)
    }

    /// What to do from now on in every call without an answer of its own: lines of `sh`.
    package func answer(_ lines: String) throws { try write("answer", lines + "\n") }

    /// What to do in the call of this number, from 1.
    package func answer(call: Int, _ lines: String) throws { try write("answer.\(call)", lines + "\n") }

    /// The arguments of each call, the program's name first.
    package func calls() throws -> [[String]] {
        let count = Int(try read("count").prefix { $0 != "\n" }) ?? 0
        return try (0..<count).map { index in
            try read("call.\(index + 1)").split(separator: "\0", omittingEmptySubsequences: false).dropLast().map {
                String($0)
            }
        }
    }

    package func environment(call: Int) throws -> Set<String> {
        Set(try read("env.\(call)").split(separator: "\n").map { String($0) })
    }

    package func write(_ name: String, _ text: String) throws {
        guard let file = fopen(directory + "/" + name, "we") else { throw FakeError(what: name, errno: errno) }
        defer { fclose(file) }
        let bytes = Array(text.utf8)
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw FakeError(what: name, errno: errno) }
    }

    package func read(_ name: String) throws -> String {
        guard let file = fopen(directory + "/" + name, "re") else { throw FakeError(what: name, errno: errno) }
        defer { fclose(file) }
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { result += buffer[..<count] }
        return String(decoding: result, as: UTF8.self)
    }
}

package struct FakeError: Error {
    package let what: String
    package let errno: Int32
}
