/// What ZFS's own figures tell of a dataset since its newest snapshot. Until a clone has one of its own, that is its origin.
public enum ChangeVerdict: Hashable, Sendable {
    /// It differs from its newest snapshot; with OpenZFS also when it has none.
    case changed
    /// So little was written since its newest snapshot that it may be upkeep of ZFS's own alone. Only the next snapshot can
    /// tell: `ChangeCheck.isEqual(_:to:)`.
    case slight(Slight)
    /// It equals its newest snapshot, and what follows is what that was told from.
    case unchanged(Evidence)
    /// The figures do not tell.
    case unknown(Doubt)

    /// Whether the dataset equals its newest snapshot, for sure.
    public var isUnchanged: Bool { if case .unchanged = self { true } else { false } }

    /// A little that was written.
    public struct Slight: Hashable, Sendable {
        /// The full name of the newest snapshot.
        public var since: String
        /// Bytes. Every change of a file, directory or volume adds to what upkeep alone writes.
        public var written: UInt64

        /// So many bytes since this snapshot.
        public init(since: String, written: UInt64) {
            self.since = since
            self.written = written
        }
    }

    /// What an `.unchanged` rests on.
    public enum Evidence: Hashable, Sendable {
        /// OpenZFS's `written` is 0.
        case written
        /// No transaction group after the newest snapshot's was seen to be dirtied.
        case groups
        /// ... but by what is no change: access times, freed files.
        case noise
        /// It is a clone without a snapshot of its own, and holds no block that its origin lacks (zfs-fuse).
        case origin
        /// No block is held by snapshots alone that is not counted to one of them.
        case nothingShared
        /// The newest snapshot differs from the one before it, and has no block of its own.
        case newestDiffers
        /// What was written is upkeep of ZFS's own: a stream from the newest snapshot on is empty.
        case stream
        /// `usedbysnapshots` stands where it stood right after the newest snapshot.
        case baseline
        /// Kairos made the newest snapshot, and takes none without a change.
        case madeByKairos
    }

    /// Why the figures do not tell.
    public enum Doubt: Hashable, Sendable {
        /// There is no snapshot to differ from (zfs-fuse).
        case noSnapshot
        /// The newest snapshot may equal the one before it, and then hides every change (zfs-fuse).
        case newestMayBeEmpty
        /// The command's output could not be read; a printable line.
        case unreadable(String)
    }
}

/// Asks ZFS's own figures whether a dataset changed: the audit behind the probes.
///
/// An atime update is a change to ZFS: a dataset with `atime=on` that was only read may count as changed.
public struct ChangeCheck: Sendable {
    /// `usedbysnapshots` at a known moment, to compare with later.
    public struct Baseline: Hashable, Sendable {
        /// The full name of the newest snapshot then.
        public let newestSnapshot: String
        /// Bytes held by the dataset's snapshots alone.
        public let usedBySnapshots: UInt64

        /// A baseline of these figures.
        public init(newestSnapshot: String, usedBySnapshots: UInt64) {
            self.newestSnapshot = newestSnapshot
            self.usedBySnapshots = usedBySnapshots
        }
    }

    /// The command that is asked.
    public let command: ZFSCommand
    /// Whose figures they are.
    public let flavour: ZFSFlavour

    /// A check by this command.
    public init(_ command: ZFSCommand, flavour: ZFSFlavour) {
        self.command = command
        self.flavour = flavour
    }

    /// Whether the dataset has changed since its newest snapshot.
    ///
    /// - Parameter syncs: waits for the pool's open transaction group first, since the figures lag behind the writes until
    ///   then. A pool that is at rest has its disks woken up by that.
    public func verdict(
        on dataset: String, baseline: Baseline? = nil, syncs: Bool = true
    ) async throws(ZFSError) -> ChangeVerdict {
        if syncs { try await sync(dataset) }
        switch flavour {
        case .kernel:
            let output = try await command.run(["get", "-H", "-p", "-o", "value", "written", dataset])
            let text = String(decoding: output, as: UTF8.self).prefix { $0 != "\n" }
            guard let written = UInt64(text) else {
                return .unknown(.unreadable("written of \(SafeText.line(dataset)) is '\(SafeText.line(text))'"))
            }
            if written == 0 { return .unchanged(.written) }
            return written <= Self.slight ? await slight(dataset, written) : .changed
        case .fuse:
            let figures: Figures
            switch try await self.figures(of: dataset) {
            case .success(let read): figures = read
            case .failure(let fault): return .unknown(.unreadable(fault.words))
            }
            if let verdict = figures.verdict(baseline: baseline) { return verdict }
            guard let newest = figures.newest else { return .unknown(.noSnapshot) }
            let catalog = DatasetCatalog(command)
            let trigger = try await catalog.properties(["kairos:trigger"], of: [newest.name])
            // What was set on the snapshot itself, not what it has from its dataset.
            return trigger[newest.name]?["kairos:trigger"]?.source == .local
                ? .unchanged(.madeByKairos) : .unknown(.newestMayBeEmpty)
        }
    }

    /// What is written at most, in bytes, when no object of a dataset is: the block of its object set, as up to three copies in
    /// sectors of up to 16 KiB. Its header has the intent log's in it, which the import of a pool changes where there is a log.
    static let slight = 64 << 10

    private func slight(_ dataset: String, _ written: UInt64) async -> ChangeVerdict {
        guard let previous = try? await previous(of: dataset) else { return .changed }
        return .slight(ChangeVerdict.Slight(since: previous, written: written))
    }

    /// The full name of the snapshot that OpenZFS compares a dataset with: its newest, or the origin of a clone without one.
    private func previous(of dataset: String) async throws(ZFSError) -> String? {
        // A hidden property, which ZFS shows only by its name.
        let output = try await command.run(["get", "-H", "-p", "-o", "value", "prevsnap", dataset])
        let name = String(decoding: output.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        guard name == "-" || name.contains("@") else {
            throw unreadable("prevsnap is '\(SafeText.line(name))'", dataset)
        }
        return name == "-" ? nil : name
    }

    /// The full name of the dataset's own newest snapshot; nil where it has none. What cannot be read is an error, and not none.
    public func newest(of dataset: String) async throws(ZFSError) -> String? {
        switch flavour {
        case .kernel:
            let previous = try await previous(of: dataset)
            return previous?.hasPrefix(dataset + "@") == true ? previous : nil
        case .fuse:
            switch try await figures(of: dataset) {
            case .success(let figures): return figures.newest?.name
            case .failure(let fault): throw unreadable(fault.words, dataset)
            }
        }
    }

    private func unreadable(_ words: String, _ dataset: String) -> ZFSError {
        ZFSError(operation: "zfs get", arguments: ["get", dataset], kind: .other, exit: .status(0), stderr: [words])
    }

    /// Whether a snapshot equals an earlier one of its dataset to the last block, by their full names: the stream from one to
    /// the other has a beginning and an end, and nothing else. OpenZFS alone; those that cannot be compared are not equal.
    public func isEqual(_ snapshot: String, to earlier: String) async -> Bool {
        do throws(ZFSError) {
            let stream = try await command.run(["send", "-i", earlier, snapshot], outputLimit: 4096)
            // dmu_replay_record_t, in the machine's order: the type, in a DRR_BEGIN (0) a magic number at 8 and the name of the
            // snapshot that is sent at 56, up to its end.
            let (size, end, magic) = (312, UInt32(5), UInt64(0x2_F5BA_CBAC))
            guard stream.count == 2 * size else { return false }
            return stream.withUnsafeBytes { bytes in
                bytes.loadUnaligned(as: UInt32.self) == 0
                    && bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == magic
                    && bytes[56..<size].prefix { $0 != 0 }.elementsEqual(snapshot.utf8)
                    && bytes.loadUnaligned(fromByteOffset: size, as: UInt32.self) == end
            }
        } catch {
            return false
        }
    }

    /// Whether no file or directory of a dataset changed since a snapshot of it, by its full name: access times do not count, nor
    /// does what has no name any more. OpenZFS alone; it compares what was written since.
    public func isSame(
        _ dataset: String, mountedAt mountPoints: [[UInt8]], as snapshot: String
    ) async throws(ZFSError) -> Bool {
        let output: [UInt8]
        do throws(ZFSError) {
            output = try await command.run(["diff", "-H", snapshot, dataset], outputLimit: 1 << 20)
        } catch {
            if error.kind == .outputTooLarge { return false }
            throw error
        }
        // Deleted files that are still open, in the form of one line. One that only looks like it counts as a change.
        let queues = mountPoints.map { Array("\t".utf8) + $0 + Array("(on_delete_queue)".utf8) }
        return output.split(separator: UInt8(ascii: "\n")).allSatisfy { line in
            queues.contains { $0.elementsEqual(line.dropFirst()) }
        }
    }

    /// The figures to compare with later; nil with OpenZFS, which needs none, and without a snapshot.
    ///
    /// Take it right after a snapshot. A change between the two is in the baseline already, and not seen by a later
    /// check: that one is the probes' to see.
    public func baseline(of dataset: String) async throws(ZFSError) -> Baseline? {
        guard flavour == .fuse else { return nil }
        try await sync(dataset)
        guard case .success(let figures) = try await figures(of: dataset), let newest = figures.newest else {
            return nil
        }
        return Baseline(newestSnapshot: newest.name, usedBySnapshots: figures.usedBySnapshots)
    }

    private func sync(_ dataset: String) async throws(ZFSError) {
        switch flavour {
        case .kernel: try await command.runPool(["sync", DatasetName.pool(of: dataset)])
        // zfs-fuse knows no "zpool sync", but waits for the transaction group of every change of a property, even
        // when there was nothing to change.
        case .fuse: try await command.run(["inherit", ZFSInvocation.syncProperty, dataset])
        }
    }

    // MARK: zfs-fuse

    struct Unreadable: Error, CustomStringConvertible {
        let words: String
        var description: String { words }
    }

    private func figures(of dataset: String) async throws(ZFSError) -> Result<Figures, Unreadable> {
        // Only properties whose values ZFS makes itself: a value with newlines cannot forge the rows of another.
        // "zfs list" would round the numbers, and this one call is atomic enough: see `Figures.verdict`.
        let fields = ["get", "-r", "-d", "1", "-H", "-p", "-o", "name,property,source,value"]
        let output = try await command.run(fields + [Figures.properties.joined(separator: ","), dataset])
        let parsed = ZFSOutput.properties(output, properties: Figures.properties) { name in
            name == dataset || name.hasPrefix(dataset + "@")
        }
        guard let figures = Figures(parsed, of: dataset) else {
            return .failure(Unreadable(words: "zfs get shows no usable figures of \(SafeText.line(dataset))"))
        }
        return .success(figures)
    }
}

/// The space figures of a dataset and its snapshots, with which zfs-fuse has to do instead of `written`.
struct Figures: Hashable, Sendable {
    static let properties = ["createtxg", "referenced", "used", "usedbydataset", "usedbysnapshots", "origin"]

    struct Snapshot: Hashable, Sendable {
        let name: String
        let createTXG: UInt64
        let referenced: UInt64
        let used: UInt64
    }

    var referenced: UInt64
    /// Of a clone: what it holds and its origin does not.
    var usedByDataset: UInt64
    var usedBySnapshots: UInt64
    var isClone: Bool
    /// Oldest first.
    var snapshots: [Snapshot]

    /// The newest snapshot; those that `zfs diff` makes and destroys do not count.
    var newest: Snapshot? { snapshots.last { !$0.name.contains("@zfs-diff-") } }
}

extension Figures {
    /// From the rows of `zfs get`; nil when those of the dataset itself are not complete.
    init?(_ parsed: ZFSOutput.Properties, of dataset: String) {
        let number = { (name: String, property: String) in
            parsed.values[name]?[property].flatMap { UInt64($0.value) }
        }
        guard let referenced = number(dataset, "referenced"), let used = number(dataset, "usedbysnapshots"),
            let usedByDataset = number(dataset, "usedbydataset"), let origin = parsed.values[dataset]?["origin"]?.value
        else { return nil }
        self.init(
            referenced: referenced, usedByDataset: usedByDataset, usedBySnapshots: used, isClone: origin != "-",
            snapshots: [])
        for name in parsed.values.keys where name != dataset {
            // One that is destroyed while the list is made has rows missing.
            guard let txg = number(name, "createtxg"), let referenced = number(name, "referenced"),
                let used = number(name, "used")
            else { continue }
            snapshots.append(Snapshot(name: name, createTXG: txg, referenced: referenced, used: used))
        }
        snapshots.sort { ($0.createTXG, $0.name) < ($1.createTXG, $1.name) }
    }

    /// What the figures alone tell; nil when they do not.
    ///
    /// A snapshot's `used` counts the blocks that it alone holds. Every change of a dataset replaces at least the block
    /// of its object set, so the old one stays with the newest snapshot N: as `used` of N when N alone has it, else in
    /// `usedbysnapshots`, in the part that no single snapshot's `used` counts. Measured with zfs-fuse 0.7.0.
    func verdict(baseline: ChangeCheck.Baseline?) -> ChangeVerdict? {
        // The object set of a clone that was changed is its own.
        if snapshots.isEmpty, isClone { return usedByDataset == 0 ? .unchanged(.origin) : .changed }
        guard let newest, let index = snapshots.lastIndex(of: newest) else { return .unknown(.noSnapshot) }
        if referenced != newest.referenced || newest.used > 0 { return .changed }

        var ownBlocks: UInt64 = 0
        for snapshot in snapshots { ownBlocks &+= snapshot.used }
        // Not for a clone: what it shares with its origin is the origin's, and counted there.
        if !isClone, usedBySnapshots == ownBlocks { return .unchanged(.nothingShared) }

        // When N differs from the snapshot before it, N's object set is N's alone as soon as the dataset leaves it, and
        // `used` would not be 0.
        if index > 0 {
            let before = snapshots[index - 1]
            if before.used > 0 || before.referenced != newest.referenced { return .unchanged(.newestDiffers) }
        }
        if let baseline, baseline.newestSnapshot == newest.name {
            if usedBySnapshots == baseline.usedBySnapshots { return .unchanged(.baseline) }
            if usedBySnapshots > baseline.usedBySnapshots { return .changed }
            // Less: snapshots were destroyed, and the baseline tells nothing.
        }
        return nil
    }
}
