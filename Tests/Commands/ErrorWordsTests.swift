import Foundation
import Testing

@testable import Commands

/// Reads the sources: what Swift makes of an error without a description of its own is no message for people.
@Suite("Errors have words")
struct ErrorWordsTests {
    @Test("every type of error in Sources describes itself")
    func described() throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let sources = tests.deletingLastPathComponent().appendingPathComponent("Sources")
        let files = try #require(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
        // struct NAME: A, Error {   and   extension NAME: B {
        let header = /\b(?<kind>struct|enum|class|actor|extension)\s+(?<name>[\w.]+)\s*:(?<above>[^{}=]*)\{/
        var errors: [String: String] = [:]
        var described: Set<String> = []
        for case let file as URL in files where file.pathExtension == "swift" {
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: header) {
                let above = match.above.split { !($0.isLetter || $0.isNumber || $0 == "_") }
                let name = String(match.name.split(separator: ".").last ?? "")
                let isError = above.contains("Error") || above.contains("LocalizedError")
                if isError { errors["\(file.lastPathComponent): \(name)"] = name }
                if above.contains("CustomStringConvertible") {
                    described.insert(isError || match.kind == "extension" ? name : "")
                }
            }
        }
        #expect(errors.count > 20)
        for (place, name) in errors { #expect(described.contains(name), "\(place) has no CustomStringConvertible") }
    }
}
