import Policy

/// Which snapshots are kept, by their age: `1h=all,24h=1h,30d=1d,1y=1w`. All of the last hour, one for each hour of the last day, one for
/// each day of the last month, one for each week of the last year.
public struct RetentionRule: Sendable, Hashable, CustomStringConvertible {
    public struct Tier: Sendable, Hashable {
        /// How far back it reaches.
        public var span: Duration
        /// From boundary to boundary; nil: all are kept.
        public var step: Duration?

        public init(span: Duration, step: Duration?) {
            self.span = span
            self.step = step
        }
    }

    /// A text that is no rule: what is wrong with it, and how one is written.
    public struct Fault: Error, Sendable, Hashable, CustomStringConvertible {
        public var description: String
    }

    /// The shortest span first.
    public let tiers: [Tier]
    public let description: String

    public static let standard = RetentionRule(
        unchecked: [
            Tier(span: .seconds(3600), step: nil), Tier(span: .seconds(86_400), step: .seconds(3600)),
            Tier(span: .seconds(30 * 86_400), step: .seconds(86_400)),
            Tier(span: .seconds(365 * 86_400), step: .seconds(7 * 86_400)),
        ], "1h=all,24h=1h,30d=1d,1y=1w")

    /// A tier as it is written: `30d=1d`.
    public func text(ofTier place: Int) -> String {
        let parts = description.split(separator: ",")
        return parts.indices.contains(place) ? String(parts[place]) : description
    }

    private init(unchecked tiers: [Tier], _ text: String) {
        self.tiers = tiers
        description = text
    }

    /// `all`: nothing is ever destroyed.
    public static let everything = RetentionRule(unchecked: [Tier(span: .seconds(Int64.max), step: nil)], "all")

    /// - Parameter text: `all`, or `SPAN=STEP,…` with growing spans. Units are those of durations, and w (7 days) and y (365 days); a step may be `all`.
    ///   Blanks beside a comma mean nothing.
    public init(parsing text: String) throws(Fault) {
        let text = text.split(separator: ",", omittingEmptySubsequences: false).map(Self.trimmed).joined(separator: ",")
        if text == Self.everything.description {
            self = .everything
            return
        }
        var tiers: [Tier] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let words = part.split(separator: "=", omittingEmptySubsequences: false)
            guard words.count == 2 else {
                throw Self.fault(text, "\(String(reflecting: String(part))) is not SPAN=STEP")
            }
            let span = try Self.duration(words[0], text)
            let step = words[1] == "all" ? nil : try Self.duration(words[1], text)
            guard span >= .seconds(1) else { throw Self.fault(text, "a span is at least 1s") }
            if let step, step < .seconds(1) { throw Self.fault(text, "a step is at least 1s") }
            if let step, step > span { throw Self.fault(text, "\(words[1]) is longer than its span \(words[0])") }
            if let last = tiers.last {
                guard span > last.span else {
                    throw Self.fault(text, "the span \(words[0]) is not longer than the one before")
                }
                guard let step, step > last.step ?? .zero else {
                    throw Self.fault(text, "\(words[1]) keeps no fewer than the tier before: leave one of them out")
                }
            }
            tiers.append(Tier(span: span, step: step))
        }
        self.init(unchecked: tiers, text)
    }

    private static func trimmed(_ part: Substring) -> Substring {
        var part = part.drop { $0 == " " }
        while part.last == " " { part.removeLast() }
        return part
    }

    private static func duration(_ word: Substring, _ text: String) throws(Fault) -> Duration {
        let days = word.last == "w" ? 7 : word.last == "y" ? 365 : 0
        if days > 0 {
            guard let count = Int64(word.dropLast()), count > 0, count <= 200_000 else {
                throw fault(text, "\(String(reflecting: String(word))) is no number of weeks or years")
            }
            let seconds = count * Int64(days) * 86_400
            guard seconds <= 292 * 365 * 86_400 else { throw fault(text, "\(word) is longer than 292 years") }
            return .seconds(seconds)
        }
        do throws(DurationSyntaxError) { return try Duration(parsing: String(word)) } catch {
            throw fault(text, "\(error)")
        }
    }

    private static func fault(_ text: String, _ why: String) -> Fault {
        Fault(description: "\(String(reflecting: text)) is no retention rule: \(why) (example: \(standard))")
    }
}
