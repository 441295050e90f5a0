import Glibc
import Restore
import SystemPackage

// Restores without end, to be killed: kairos-restore-child beside|in-place|keep SNAPSHOT-ROOT PATH DIRECTORY NAME [COUNT] [plain]
// Prints a line after each.
let arguments = CommandLine.arguments
guard arguments.count >= 6 else { exit(64) }
do {
    let root = try FileDescriptor.open(FilePath(arguments[2]), .readOnly, options: .closeOnExec)
    let directory = try DestinationDirectory.named(Array(arguments[4].utf8))
    let name = arguments[5]
    let limit = arguments.count > 6 ? Int(arguments[6]) ?? .max : .max
    let mode: RestoreOptions.Mode =
        switch arguments[1] {
        case "beside": .beside
        case "keep": .inPlace(keepsOld: true)
        default: .inPlace(keepsOld: false)
        }
    let version = VersionName(Array(name.utf8), stamp: "version", isDirectory: false)
    let options = RestoreOptions(mode: mode, names: { version.candidate($0) })
    for _ in 0..<limit {
        let work = { () throws(RestoreError) in
            _ = try Restorer.copy(
                RestoreSource(root: root, path: Array(arguments[3].utf8)),
                to: RestoreDestination(in: directory, name: Array(name.utf8)), options)
        }
        try arguments.last == "plain" ? Restorer.withoutRenameFlags(work) : work()
        _ = try FileDescriptor.standardOutput.writeAll("done\n".utf8)
    }
} catch {
    _ = try? FileDescriptor.standardError.writeAll("\(error)\n".utf8)
    exit(1)
}
