import Datasets
import FoundationEssentials
import Glibc
import Subprocess
import SystemPackage

/// Runs `kairos demo-step`.
enum WorkloadProcess {
    /// The name of the hidden command.
    static let command = "demo-step"

    /// This program's file.
    static func executable() -> String? {
        guard let pointer = realpath("/proc/self/exe", nil) else { return nil }
        defer { free(pointer) }
        return String(cString: pointer)
    }

    /// Runs `kairos restore` in a new process, to its end, and returns what it said.
    static func restore(_ path: String, executable: String) async throws(DemoError) -> [String] {
        var options = PlatformOptions()
        options.processGroupID = 0
        do {
            let result = try await Subprocess.run(
                .path(FilePath(executable)), arguments: ["restore", "--journal", "none", path],
                environment: .custom(["LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]), workingDirectory: "/",
                platformOptions: options, input: .none, output: .bytes(limit: 64 << 10), error: .bytes(limit: 4 << 10))
            guard case .exited(0) = result.terminationStatus else {
                throw DemoError.unexpected("kairos restore: \(SafeText.line(result.standardError))")
            }
            return String(decoding: result.standardOutput, as: UTF8.self).split(separator: "\n").map {
                SafeText.line($0)
            }
        } catch let error as DemoError {
            throw error
        } catch {
            throw .unexpected("kairos restore: \(SafeText.line("\(error)"))")
        }
    }

    /// Does one step in a new process, to its end: the step itself has a time limit.
    static func run(
        _ step: WorkloadStep, in directory: String, executable: String
    ) async -> Result<[WorkloadNote], DemoError> {
        var options = PlatformOptions()
        // A group of its own: Ctrl-C on the terminal is for the demo, which still needs to know what the step did.
        options.processGroupID = 0
        let words = [command, step.rawValue, directory]
        do {
            let result = try await Subprocess.run(
                .path(FilePath(executable)), arguments: Arguments(words),
                environment: .custom(["LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]), workingDirectory: "/",
                platformOptions: options, input: .none, output: .bytes(limit: 64 << 10), error: .bytes(limit: 4 << 10))
            guard case .exited(0) = result.terminationStatus else {
                let said = SafeText.line(result.standardError)
                return .failure(.workload(step, said.isEmpty ? "\(result.terminationStatus)" : said))
            }
            let lines = result.standardOutput.split(separator: UInt8(ascii: "\n"))
            let decoder = JSONDecoder()
            return .success(try lines.map { try decoder.decode(WorkloadNote.self, from: Data($0)) })
        } catch {
            return .failure(.workload(step, SafeText.line("\(error)")))
        }
    }
}
