import Datasets
import SystemPackage

/// Why a restore did not happen.
public struct RestoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of trouble, for those who act on it.
    public enum Kind: Hashable, Sendable {
        /// It was called off.
        case cancelled
        /// The destination's file system, or a quota there, is full.
        case noSpace
        /// The name is taken, and so are those tried after it.
        case taken
        /// Some of what was to replace the original could not be read: the original is as it was.
        case incomplete
        /// It would not be safe, or makes no sense.
        case refused
        /// There is no such file in the snapshot.
        case notFound
        /// A system call failed.
        case failed
    }

    public var kind: Kind
    /// As in "cannot create".
    public var tried: String
    /// On what: a path or a name, raw.
    public var path: [UInt8]
    public var why: String
    /// What can be done about it.
    public var remedy: String?

    public init(_ kind: Kind, tried: String, path: [UInt8], why: String, remedy: String? = nil) {
        self.kind = kind
        self.tried = tried
        self.path = path
        self.why = why
        self.remedy = remedy
    }

    /// All of it in one printable line.
    public var description: String {
        "cannot \(tried) \(SafeText.line(path)): \(why)" + (remedy.map { "; \($0)" } ?? "")
    }
}

/// A system call that failed.
struct CallFailure: Error, CustomStringConvertible {
    enum Side { case source, destination }

    /// As in "cannot create".
    var tried: String
    /// One component, or empty for the directory itself.
    var name: [UInt8]
    var errno: Errno
    var side: Side

    /// Not the kernel's doing: the restore was called off.
    static func called(off place: Opened) -> CallFailure {
        CallFailure(tried: "restore", name: [], errno: .canceled, side: place.side)
    }

    var description: String { error(at: name).description }

    /// The whole restore fails by it, and not only this file.
    var isFatal: Bool {
        switch errno {
        case .noSpace, .diskQuotaExceeded, .readOnlyFileSystem, .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory,
            .canceled:
            true
        // What one file cannot be there: too long a name, a kind or a size that this file system does not have.
        case .fileNameTooLong, .invalidArgument, .illegalByteSequence, .notSupported, .fileTooLarge, .tooManyLinks,
            .notSupportedOnSocket:
            false
        default: side == .destination
        }
    }

    func error(at path: [UInt8]) -> RestoreError {
        let kind: RestoreError.Kind
        var remedy: String?
        switch errno {
        case .noSpace, .diskQuotaExceeded:
            kind = .noSpace
            remedy = "make room, or restore to another file system with --to; nothing was changed"
        case .canceled: return RestoreError(.cancelled, tried: tried, path: path, why: "it was called off")
        case .readOnlyFileSystem:
            kind = .failed
            remedy = side == .destination ? "mount it for writing, or restore elsewhere with --to" : nil
        case .noSuchFileOrDirectory:
            kind = side == .source ? .notFound : .failed
            remedy =
                side == .source
                ? "it is not in this snapshot: 'kairos log' tells in which it is"
                : "somebody moved or removed the directory meanwhile: try again"
        case .tooManySymbolicLinkLevels, .notDirectory:
            kind = .refused
            remedy = "a symbolic link or a file stands where a directory should: name the real path"
        case .improperLink:
            kind = .refused
            remedy = "another file system is mounted there: restore what lies in it by itself"
        case .resourceBusy:
            kind = .failed
            remedy = "it is in use as a mount point: unmount it, or restore beside it"
        case .notPermitted:
            kind = .failed
            remedy = "is it immutable or append-only? 'lsattr' tells, 'chattr -i -a' ends it"
        default: kind = .failed
        }
        return RestoreError(kind, tried: tried, path: path, why: errno.description, remedy: remedy)
    }
}
