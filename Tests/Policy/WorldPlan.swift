import Policy
import TestSupport

/// What a run will be made of.
extension World {
    static func settings(_ random: inout SplitMix64) -> Settings {
        let maxDelay = random.duration(
            .milliseconds(10)...random.pick([.milliseconds(100), .seconds(5), .seconds(40)]))
        let quiet = random.chance(15) ? .zero : random.duration(.zero...maxDelay)
        let base = random.duration(.zero...(.seconds(2)))
        return Settings(
            quiet: quiet,
            maxDelay: maxDelay,
            minInterval: random.duration(.milliseconds(1)...maxDelay),
            commitQuiet: random.chance(50) ? nil : random.duration(.zero...quiet),
            backoffBase: base,
            backoffLimit: base + random.duration(.zero...(.seconds(20)))
        )
    }

    /// The bounds are those of the loosest settings that were ever in force.
    mutating func note(_ settings: Settings) {
        longestQuiet = max(longestQuiet, settings.quiet)
        longestDelay = max(longestDelay, settings.maxDelay)
        longestInterval = max(longestInterval, settings.minInterval)
    }

    /// Bursts and pauses, from ties to minutes.
    mutating func plan() {
        if profile.hasUncertainty {
            schedule(.falseAlarm, at: now)
        }
        var time = now
        var pace = Duration.zero
        for _ in 0..<Int.random(in: 1...60, using: &random) {
            if random.chance(30) {
                let paces: [Duration] = [
                    .zero, .microseconds(300), .milliseconds(3), .milliseconds(100), .seconds(2), .seconds(15),
                    .seconds(60),
                ]
                pace = random.pick(paces)
            }
            time = time + random.duration(.zero...pace)
            schedule(happening(), at: time)
        }
        if profile.endsWithFlush {
            schedule(.flush, at: time + .seconds(10) + random.duration(.zero...longestDelay))
        }
    }

    private mutating func happening() -> Happening {
        let dice = Int.random(in: 0..<100, using: &random)
        if dice < 5 {
            return .wake
        }
        if dice < 10, profile.changesSettings {
            return .settings(World.settings(&random))
        }
        if dice < 15, profile.hasOthers {
            return .settledByOthers
        }
        guard profile.hasUncertainty, dice < 60 else {
            // With groups a mark is a store to a mapping.
            let commit = random.chance(40)
            return profile.hasGroups && random.chance(80) ? .dirty(commit: commit) : .mark(commit: commit, late: late())
        }
        switch dice {
        // Where there are groups, nothing has to be found by its path.
        case ..<40 where profile.hasGroups: return .dirty(commit: random.chance(40))
        case ..<40: return .resolved(after: delay(), commit: random.chance(40))
        case ..<53: return .unseen(noticed: delay(), delivered: delay())
        default: return .falseAlarm
        }
    }

    /// Mostly a call comes back at once. Not so from another process, on a busy machine.
    private mutating func late() -> Duration {
        random.chance(80) ? .zero : random.duration(.zero...random.pick([.milliseconds(20), .seconds(1)]))
    }

    private mutating func delay() -> Duration {
        random.duration(.zero...random.pick([.zero, .microseconds(500), .milliseconds(20), .seconds(1), .seconds(5)]))
    }
}
