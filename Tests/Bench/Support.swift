import Policy
import TestSupport

@testable import Bench

/// Seconds, as nanoseconds since boot.
func seconds(_ value: Double) -> UInt64 { UInt64((value * 1e9).rounded()) }

func change(_ time: Double, _ bytes: UInt64 = 100, commit: Bool = false) -> DatasetHistory.Change {
    DatasetHistory.Change(time: seconds(time), bytes: bytes, commit: commit)
}

func history(
    _ changes: [DatasetHistory.Change], to end: Double, from start: Double = 0, commits: [Double] = [],
    versions: [DatasetHistory.Version] = []
) -> DatasetHistory {
    DatasetHistory(
        name: "tank/a", start: seconds(start), end: seconds(end), changes: changes, commits: commits.map(seconds),
        versions: versions)
}

/// Bursts of changes with pauses of all lengths between them.
func randomHistory(_ random: inout SplitMix64) -> DatasetHistory {
    var time = Double.random(in: 0...5, using: &random)
    var changes: [DatasetHistory.Change] = []
    for _ in 0..<Int.random(in: 1...40, using: &random) {
        for _ in 0..<Int.random(in: 1...20, using: &random) {
            changes.append(change(time, .random(in: 0...100_000, using: &random), commit: .random(using: &random)))
            time += [0, 0.0001, 0.05, 0.4].randomElement(using: &random) ?? 0
        }
        time += [0.9, 2.1, 7, 40, 900].randomElement(using: &random) ?? 0
    }
    return history(changes, to: time)
}

let simulation = Simulation(snapshotTime: .milliseconds(20), checkTime: .milliseconds(10))
