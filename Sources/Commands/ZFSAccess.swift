import ArgumentParser
import Datasets

/// Finds the `zfs` command, once.
enum ZFSAccess {
    static func command(at path: String?) throws -> ZFSCommand {
        if let path { return ZFSCommand(zfs: path, zpool: path) }
        do {
            return try ZFSCommand.find()
        } catch {
            throw Output.failure(error.description)
        }
    }
}
