import Policy

/// A policy as `--policy` takes it: `quiet=1s,max-delay=10s`.
public struct PolicyText: Sendable, Hashable {
    public struct Fault: Error, Hashable, Sendable, CustomStringConvertible {
        public var description: String
    }

    public var text: String
    public var settings: Settings

    /// - Throws: what is wrong with it, and how it is written.
    public init(parsing text: String) throws(Fault) {
        var given: [SettingsError.Setting: Duration] = [:]
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let words = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let known: [SettingsError.Setting] = [.quiet, .maxDelay, .minInterval, .commitQuiet]
            guard words.count == 2, let setting = known.first(where: { $0.rawValue == words[0] }) else {
                let names = known.map(\.rawValue).joined(separator: ", ")
                throw Fault(
                    description: "\(String(reflecting: String(part))) is no setting: write NAME=DURATION, of \(names) "
                        + "(example: quiet=1s,max-delay=10s)")
            }
            guard given[setting] == nil else { throw Fault(description: "\(setting.rawValue) is given twice") }
            do throws(DurationSyntaxError) { given[setting] = try Duration(parsing: String(words[1])) } catch {
                throw Fault(description: "\(setting.rawValue): \(error)")
            }
        }
        do throws(SettingsError) {
            settings = try .given(
                quiet: given[.quiet], maxDelay: given[.maxDelay], minInterval: given[.minInterval],
                commitQuiet: given[.commitQuiet])
        } catch { throw Fault(description: error.description) }
        self.text = text
    }
}
