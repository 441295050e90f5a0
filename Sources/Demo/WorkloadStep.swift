import Tracing

/// What the demo's workload does, step by step. Each step is a process of its own: Kairos does not see what its own
/// process does.
public enum WorkloadStep: String, CaseIterable, Sendable {
    /// Makes the files of `docs`, before Kairos starts.
    case prepareDocs = "prepare-docs"
    /// Makes the files of `photos`, before Kairos starts.
    case preparePhotos = "prepare-photos"
    /// Overwrites a file in place.
    case edit
    /// Saves as editors do: a temporary file, fsync, rename over the old one.
    case save
    /// Makes the file that `delete` deletes.
    case create
    /// Renames a file.
    case rename
    /// Changes a file by stores to memory.
    case store
    /// Deletes a file.
    case delete
    /// Deletes a directory with all that is in it.
    case deleteDirectory = "delete-directory"
    /// Adds a file to `photos`.
    case photo
    /// Reads every file, and changes none.
    case read

    /// What Kairos is shown before something is deleted, in this order.
    static let changing: [WorkloadStep] = [.edit, .save, .create, .rename, .store, .photo]

    /// The file that is made, deleted and read back.
    public static let deletedFile = "invoice.txt"

    /// The directory that is deleted and restored, and what is in it.
    static let deletedDirectory = "letters"
    static let letters = [
        (name: "letters/bank.txt", content: "Dear bank, it was not me.\n"),
        (name: "letters/landlord.txt", content: "Dear landlord, it drips again.\n"),
    ]

    /// The dataset, below the pool, that the step works in.
    var dataset: String {
        switch self {
        case .preparePhotos, .photo: "photos"
        default: "docs"
        }
    }

    /// What happens, for people.
    var title: String {
        switch self {
        case .prepareDocs, .preparePhotos: "Files are made"
        case .edit: "A program overwrites report.txt in place"
        case .save: "An editor saves todo.txt: temporary file, fsync, rename"
        case .create: "A new file appears: invoice.txt"
        case .rename: "report.txt is renamed"
        case .store: "A database changes ledger.db in memory (mmap, no write, no fsync)"
        case .delete: "invoice.txt is deleted by mistake"
        case .deleteDirectory: "A whole directory is deleted by mistake: letters"
        case .photo: "Another dataset: a photo is added"
        case .read: "Every file is read"
        }
    }

    /// The changes that have to be seen of it. There may be more, such as a first write beside a creation.
    var expected: Set<ExpectedChange> {
        switch self {
        case .prepareDocs, .preparePhotos, .read: []
        case .edit: [ExpectedChange(.write, "report.txt")]
        case .save: [ExpectedChange(.write, "todo.txt.tmp"), ExpectedChange(.rename, "todo.txt")]
        case .create: [ExpectedChange(.create, Self.deletedFile), ExpectedChange(.write, Self.deletedFile)]
        case .rename: [ExpectedChange(.rename, "report-final.txt")]
        case .store: [ExpectedChange(.store, "ledger.db")]
        case .delete: [ExpectedChange(.unlink, Self.deletedFile)]
        // The names in it may be gone before anybody can say where they were.
        case .deleteDirectory: [ExpectedChange(.rmdir, Self.deletedDirectory)]
        case .photo: [ExpectedChange(.create, "sunset.jpg"), ExpectedChange(.write, "sunset.jpg")]
        }
    }
}

/// A change that a step's event must tell of.
struct ExpectedChange: Hashable, Sendable, CustomStringConvertible {
    var operation: Operations
    /// From the dataset's root; of a rename the new name.
    var file: String

    init(_ operation: Operations, _ file: String) {
        self.operation = operation
        self.file = file
    }

    var description: String { "\(operation.name) \(file)" }
}

/// What the workload writes down of itself: from then on the file had this content, or was gone.
public struct WorkloadNote: Codable, Hashable, Sendable {
    /// CLOCK_MONOTONIC nanoseconds.
    public var time: UInt64
    public var file: String
    /// Nil: there is no file of that name any more.
    public var content: String?
}
