import ArgumentParser
import CLinux
import Datasets
import Glibc
import Recovery
import SystemPackage

struct CatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat",
        abstract: "Write a version of a file to stdout.",
        discussion: """
            Without --at, --version or --snapshot, cat writes the newest version whose content, owner or permissions \
            differ from the current file. If the file is gone, it writes the last version. 'kairos diff' and \
            'kairos restore' take the same version. --at TIME takes the newest snapshot up to TIME; a time given to \
            the second includes that whole second.

            EXAMPLES:
              kairos cat thesis.tex                        the version before the last change
              kairos cat thesis.tex --at '10m ago'
              kairos cat thesis.tex --version 3 | less
              kairos cat /srv/gone/index.html --snapshot kairos-2026-11-22T09.05.00.123Z > index.html

            \(LookStatus.words)
            """)

    @Argument(help: "A file, as it is or was called.")
    var path: String

    @OptionGroup var version: VersionOptions

    @OptionGroup var options: LookOptions

    mutating func run() throws {
        if options.json { throw Output.failure("a file's bytes are no JSON: leave out --json", status: 2) }
        let selector = try version.selector(utc: options.utc)
        let session = try RecoverySession(path, options)
        try session.look {
            let live = selector == nil ? try session.view.status(of: session.place.path, in: .live) : nil
            if live?.kind == .directory { throw unreadable(session.shown(session.place.path), .directory) }
            let version = try session.find(selector)
            let shown = session.shown(version.path)
            guard version.status.kind == .file else { throw unreadable(shown, version.status.kind) }
            let file = try session.view.look(into: .snapshot(version.snapshot)) { (tree) throws(TreeFault) in
                try tree.open(version.path)
            }
            guard let file else {
                throw Output.failure(
                    "\(shown) is not in \(SafeText.line(session.view.snapshots[version.snapshot].name)) any more",
                    status: 2)
            }
            defer { try? file.close() }
            options.remark(session.words(version))
            try copy(file, shown, session)
        }
    }

    private func unreadable(_ shown: String, _ kind: FileKind) -> any Error {
        let remedy = kind == .directory ? "'kairos restore' brings back directories" : "only a file has bytes"
        return Output.failure("\(shown) is a \(kind.rawValue): \(remedy)", status: 2)
    }

    private func copy(_ file: FileDescriptor, _ shown: String, _ session: RecoverySession) throws {
        var buffer = [UInt8](repeating: 0, count: 256 << 10)
        while true {
            let count: Int
            do {
                count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
            } catch {
                throw Output.failure("cannot read \(shown): \(error)", status: 2)
            }
            guard count > 0 else { return }
            var done = 0
            while done < count {
                // A pager may keep it waiting for ever; a signal is to be seen all the same.
                while kairos_wait_writable(STDOUT_FILENO, -1, 200) == 0 { try session.checkStopped() }
                do {
                    done += try buffer[done..<count].withUnsafeBytes { try FileDescriptor.standardOutput.write($0) }
                } catch Errno.brokenPipe {
                    return
                } catch Errno.wouldBlock {
                    continue
                } catch {
                    throw Output.failure("cannot write \(shown) to stdout: \(error)", status: 2)
                }
            }
            try session.checkStopped()
        }
    }
}
