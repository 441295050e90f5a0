import Background
import Datasets
import Snapshots
import Tracing

/// What a snapshot says of the fields that the programs read in a zfs module without BTF.
struct LayoutProof: Sendable {
    /// Full name.
    var snapshot: String
    /// Its transaction group as the programs have read it.
    var read: UInt64
    /// ... and as ZFS says; nil where the command failed.
    var createTXG: UInt64?
}

extension Daemon {
    /// A check of a volume, which reads the figures of the dataset after a sync of its pool, has led past all that there is to find.
    func warnOfUnseen(_ volume: WatchedDataset) {
        guard volume.isVolume, probes.layout == .sought else { return }
        let text =
            "the zfs module has no BTF, and Kairos does not find the fields that it reads: "
            + "changes of volumes are found by audits alone"
        if told.isNew(text) { report(.warning(text)) }
    }

    /// Asks ZFS for the transaction group of a snapshot that Kairos took anyway, until one has proven what the programs read.
    func prove(by taken: TakenSnapshot, of dataset: WatchedDataset, _ attempt: WatchedDataset.Attempt) {
        guard probes.layout == .unproven, let since = probes.layoutSince, attempt.started > since, !isProving,
            !taken.dryRun, dataset.mounted?.flavour != .fuse
        else { return }
        let read = probes.slots.groups(dataset.slot).captured
        let name = "\(dataset.info.name)@\(taken.name.text)"
        isProving = true
        let inbox = inbox
        let command = command
        WorkerThreads.shared.task {
            let output = try? await command.run(["get", "-H", "-p", "-o", "value", "createtxg", name])
            let createTXG = output.flatMap { UInt64(String(decoding: $0, as: UTF8.self).prefix { $0 != "\n" }) }
            inbox.post(.proof(LayoutProof(snapshot: name, read: read, createTXG: createTXG)))
        }
    }

    func take(_ proof: LayoutProof) {
        isProving = false
        // The next snapshot will do.
        guard let createTXG = proof.createTXG else { return }
        probes.prove(proof.read, createTXG: createTXG)
        let name = SafeText.line(proof.snapshot)
        if probes.layout == .none {
            report(.notice("the zfs module has no BTF; \(name) proves that Kairos reads the right fields of it"))
            return
        }
        if probes.layout == .refuted { distrust("\(name) has createtxg \(createTXG), read was \(proof.read)") }
    }

    /// A program could not read a field, or read what cannot be true: each time something may have changed.
    func doubtLayout(_ doubts: UInt64) {
        if doubts >= Probes.doubtLimit, probes.layout != .refuted {
            probes.refuteLayout()
            distrust("\(doubts) times a field could not be read, or could not be true")
        } else {
            // A pool that was imported at an earlier group counts from there.
            for dataset in watched.values {
                probes.slots.forgetGroups(dataset.slot)
                ask(dataset)
            }
        }
    }

    /// Drops everything that the programs read by these offsets. Kairos asks ZFS about the datasets they reported.
    private func distrust(_ reason: String) {
        hasGroups = false
        for dataset in watched.values {
            probes.slots.forgetGroups(dataset.slot)
            setFlags(of: dataset)
            ask(dataset)
        }
        report(
            .warning(
                "the zfs module has no BTF, and Kairos reads the wrong fields of it: \(reason). "
                    + "Changes of files are seen as by the probe set vfs; changes of volumes are found by audits alone")
        )
    }
}
