import ArgumentParser
import Demo
import Glibc
import SystemPackage

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "See it work, in a minute, on a scratch pool.",
        discussion: """
            Makes a pool in a file below /var/tmp, with the kernel's OpenZFS or else with zfs-fuse, runs Kairos on it \
            and a program that edits, renames and deletes files, and shows each change with the snapshot that it \
            caused. Then it reads every snapshot back and checks it. Your own pools are not touched. Pool, files and a \
            zfs-fuse that it started are removed at the end, on Ctrl-C and on failure too; what a killed one left, \
            the next one removes.

            Exit status 0: everything that was shown has been verified.

            EXAMPLES:
              kairos demo
              kairos demo --keep              leave the pool, to look around in it
              kairos demo --json | jq .
            """
    )

    @Flag(help: "Leave the pool, and say how to remove it.")
    var keep = false

    @Flag(name: .shortAndLong, help: "JSON lines on stdout.")
    var json = false

    mutating func run() throws {
        try Privileges.requireRoot("kairos demo")
        Output.ignoreBrokenPipe()
        let renderer: any DemoRenderer = json ? JSONDemoRenderer() : TextDemoRenderer()
        let result: DemoResult
        do {
            result = try DemoRun(keeps: keep) { renderer.render($0) }.run()
        } catch {
            switch error {
            case .interrupted(let signal): throw Output.failure("the demo was interrupted", status: 128 + signal)
            case .outputClosed: throw ExitCode(1)
            default: throw Output.failure(error.description)
            }
        }
        if !result.isVerified { throw ExitCode(1) }
    }
}

/// The demo's workload: one step of it in a process of its own.
struct DemoStepCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo-step", abstract: "Do one step of the demo's workload.", shouldDisplay: false)

    /// After so many seconds the step ends itself: its pool may have gone away below it.
    private static let timeLimit: UInt32 = 30

    @Argument var step: String
    @Argument var directory: String

    mutating func run() throws {
        guard let step = WorkloadStep(rawValue: step) else {
            throw Output.failure("there is no such step of the demo", status: 64)
        }
        alarm(Self.timeLimit)
        // What Kairos shows as the process.
        let comm = try? FileDescriptor.open("/proc/self/comm", .writeOnly, options: .closeOnExec)
        _ = try? comm?.closeAfter { try comm?.writeAll("demo-step".utf8) }
        do throws(WorkloadError) {
            for note in try Workload(directory: directory).run(step) { Output.line(Output.json(note)) }
        } catch { throw Output.failure(error.description) }
    }
}
