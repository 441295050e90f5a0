import Background
import Glibc
import SystemPackage

/// Draws with gnuplot: data in files, a script, an SVG.
public struct Gnuplot: Sendable {
    public struct Failure: Error, CustomStringConvertible, Sendable {
        public var description: String
    }

    /// Its executable.
    let path: String

    /// - Throws: where it is not installed, what to install.
    public init() throws(Failure) {
        guard let path = Programs.find("gnuplot") else {
            throw Failure(
                description:
                    "the pictures of --html are drawn by gnuplot, which is not installed: apt-get install gnuplot-nox")
        }
        self.path = path
    }

    /// Numbers that a plot reads, by the name that the script uses.
    struct Table {
        var name: String
        var rows: [[Double]]
    }

    /// Runs a script on these tables, in a directory of its own.
    ///
    /// - Parameters:
    ///   - script: after the settings that all pictures share. Colours are `ls 1` to `ls 12`.
    ///   - name: of the picture: a page has one of each. Letters, digits and underscores; others become those.
    func svg(
        _ script: String, _ tables: [Table], name: String, width: Int = 960, height: Int
    ) throws(Failure) -> String {
        // Ctrl-C ends it between two pictures, with nothing left behind.
        do throws(TraceBench.Failure) { try Interruption.shared.begin() } catch {
            throw Failure(description: error.description)
        }
        let drawn: Result<String, Failure>
        do throws(Failure) { drawn = .success(try draw(script, tables, name, width, height)) } catch {
            drawn = .failure(error)
        }
        do throws(TraceBench.Failure) { try Interruption.shared.end() } catch {
            throw Failure(description: error.description)
        }
        return try drawn.get()
    }

    private func draw(
        _ script: String, _ tables: [Table], _ name: String, _ width: Int, _ height: Int
    ) throws(Failure) -> String {
        var template = Array("/tmp/kairos-plot-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw Failure(description: "cannot make a directory in /tmp: \(Errno(rawValue: errno))")
        }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var made: [String] = []
        defer {
            made.forEach { unlink($0) }
            rmdir(directory)
        }
        func file(_ name: String, _ text: String) throws(Failure) {
            let path = directory + "/" + name
            made.append(path)
            do {
                let file = try FileDescriptor.open(
                    FilePath(path), .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
                    permissions: [.ownerRead, .ownerWrite])
                try file.closeAfter { _ = try file.writeAll(text.utf8) }
            } catch { throw Failure(description: "cannot write \(path): \(error)") }
        }
        for table in tables {
            try file(table.name, table.rows.map { $0.map { "\($0)" }.joined(separator: " ") + "\n" }.joined())
        }
        try file("script", Self.style(name, width, height) + script + "\n")
        var child = ChildProcess(path, [directory + "/script"], outputLimit: 64 << 20, errorLimit: 4096)
        child.directory = directory
        child.isStopped = { Interruption.shared.isSet }
        switch child.run(timeLimit: .seconds(60)) {
        case .exited(let output, 0):
            let text = String(decoding: output.stdout, as: UTF8.self)
            guard let start = text.firstRange(of: "<svg") else { break }
            return String(text[start.lowerBound...])
        case .exited(let output, let status):
            let said = String(decoding: output.stderr, as: UTF8.self).split(separator: "\n").last.map(String.init) ?? ""
            throw Failure(description: "gnuplot ended with status \(status): \(said)")
        case .notStarted(let errno): throw Failure(description: "cannot start \(path): \(errno)")
        case .timedOut: throw Failure(description: "gnuplot did not end within a minute")
        default: break
        }
        throw Failure(description: "gnuplot drew nothing")
    }

    /// One for each interval of cron, and more than anybody compares.
    static let colours = [
        "#3b82f6", "#f97316", "#22a355", "#e5484d", "#a855f7", "#a0764b", "#0fa3a3", "#e055a5", "#9a9a1e", "#6b7fb8",
        "#d08770", "#5aa02c",
    ]

    /// Colours that stand out on white and on black; lines of axes in a grey between. Words take
    /// the page's colour by its style sheet.
    private static func style(_ name: String, _ width: Int, _ height: Int) -> String {
        // gnuplot ends at any other character.
        let name = String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
        let lines = colours.enumerated().map { "set style line \($0 + 1) lc rgb '\($1)' lw 1.6 pt 7 ps 0.5" }
        return """
            set terminal svg size \(width),\(height) dynamic enhanced font 'sans-serif,12' name '\(name)'
            set termoption noenhanced
            set border 3 lc rgb '#8a8a8a'
            set tics nomirror
            set grid lc rgb '#8a8a8a' lw 0.4 dt 3
            set key outside top center horizontal

            """ + lines.joined(separator: "\n") + "\n"
    }
}

/// Programs that are looked for where an administrator's are, whatever PATH says.
enum Programs {
    static func find(_ name: String) -> String? {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"].map { $0 + "/" + name }
            .first { access($0, X_OK) == 0 }
    }
}
