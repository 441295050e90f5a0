import Glibc
import Restore
import Synchronization
import SystemPackage

// Restores without end, to be killed:
//     kairos-restore-child beside|in-place|keep|database SNAPSHOT-ROOT PATH DIRECTORY NAME [COUNT] [plain] [STEP]
// Prints a line after each. With a step it kills itself before that change of a name, counted from 1.
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
    let last = arguments.dropFirst(7).lazy.compactMap { Int($0) }.first ?? .max
    let steps = Mutex(0)
    for _ in 0..<limit {
        let restore = { () throws(RestoreError) in
            let source = RestoreSource(root: root, path: Array(arguments[3].utf8))
            let destination = RestoreDestination(in: directory, name: Array(name.utf8))
            _ =
                arguments[1] == "database"
                ? try DatabaseFiles.copy(source, to: destination, options)
                : try Restorer.copy(source, to: destination, options)
        }
        let work = { () throws(RestoreError) in
            try Restorer.stepping({
                let count = steps.withLock { count in
                    count += 1
                    return count
                }
                if count == last { kill(getpid(), SIGKILL) }
            }) { () throws(RestoreError) in try restore() }
        }
        try arguments.dropFirst(7).contains("plain") ? Restorer.withoutRenameFlags(work) : work()
        _ = try FileDescriptor.standardOutput.writeAll("done\n".utf8)
    }
} catch {
    _ = try? FileDescriptor.standardError.writeAll("\(error)\n".utf8)
    exit(1)
}
