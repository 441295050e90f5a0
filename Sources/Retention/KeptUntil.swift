extension RetentionPlan {
    /// Until when a rule keeps each snapshot at least, nanoseconds since 1970: by its name, of those that a rule keeps.
    ///
    /// At least, since a pause of the pool's clock makes everything younger (`RetentionClock`), and since a snapshot becomes the state of
    /// further moments when the one after it is destroyed by hand. `Int64.max`: for ever.
    public func kept(by rule: RetentionRule) -> [String: Int64] {
        let ours = verdicts.indices.filter {
            verdicts[$0].verdict != .future && !verdicts[$0].snapshot.protections.contains(.foreign)
        }
        // As the plan does: those with a time that is too early among the others, and without them.
        var result = ends(ours, rule)
        if !tooEarly.isEmpty { result.merge(ends(ours.filter { !tooEarly.contains($0) }, rule), uniquingKeysWith: max) }
        let byRule = Set(verdicts.filter { Self.isByRule($0.verdict) }.map(\.snapshot.name))
        return result.filter { byRule.contains($0.key) }
    }

    private func ends(_ places: [Int], _ rule: RetentionRule) -> [String: Int64] {
        let ours = places.sorted { (verdicts[$0].snapshot.time, $0) < (verdicts[$1].snapshot.time, $1) }
            .map { verdicts[$0].snapshot }
        var result: [String: Int64] = [:]
        for (position, snapshot) in ours.enumerated() {
            let next = position + 1 < ours.count ? ours[position + 1].time : nil
            let ends = rule.tiers.compactMap { tier -> Int64? in
                var from = snapshot.time
                if let step = tier.step?.clampedNanoseconds {
                    // The last boundary of which it is the state; of the newest one that is not known yet.
                    guard let next else { return nil }
                    guard let boundary = Self.lastBoundary(before: next, step), boundary >= snapshot.time else {
                        return nil
                    }
                    from = boundary
                }
                let (end, over) = from.addingReportingOverflow(tier.span.clampedNanoseconds)
                return over ? .max : end
            }
            if let end = ends.max() { result[snapshot.name] = end }
        }
        return result
    }

    private static func isByRule(_ verdict: Verdict) -> Bool { if case .rule = verdict { true } else { false } }

    private static func lastBoundary(before time: Int64, _ step: Int64) -> Int64? {
        let (since, under) = time.subtractingReportingOverflow(origin)
        guard !under else { return nil }
        let remainder = ((since % step) + step) % step
        let (boundary, over) = time.subtractingReportingOverflow(remainder == 0 ? step : remainder)
        return over ? nil : boundary
    }
}
