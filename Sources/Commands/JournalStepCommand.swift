import ArgumentParser
import Journal
import Snapshots

/// Writes snapshots into a journal until it is killed, and says of each when it is safe: for the test of that.
struct JournalStepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "journal-step", abstract: "Write into a journal until killed.", shouldDisplay: false)

    @Argument var path: String
    @Argument var first: Int

    mutating func run() throws {
        var number = first
        while true {
            let isWritten: Bool
            do throws(JournalError) {
                let journal = try Journal(path) { Output.message("\($0)") }
                let changes = (0..<50).map { file in
                    JournalChange(
                        path: Array("d/\(number)-\(file)".utf8), inode: UInt64(file), generation: 1,
                        kinds: ChangeKinds(.write), command: Array("step".utf8), pid: 1, user: 0, first: 0, last: 1)
                }
                journal.add(
                    JournalEntry(
                        dataset: "tank/a", guid: 1, snapshot: "k\(number)", taken: Int64(number), trigger: "quiet",
                        isWhole: true, changes: changes, clock: 0))
                isWritten = journal.end(within: .seconds(60))
            } catch { throw Output.failure(error.description) }
            guard isWritten else { throw Output.failure("not written in a minute") }
            Output.line("k\(number)")
            number += 1
        }
    }
}
