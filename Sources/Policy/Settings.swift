/// When a dataset's changes become a snapshot: what its `kairos:` properties and the daemon's flags come to.
public struct Settings: Sendable, Hashable {
    /// Snapshot after this long without a change.
    public var quiet: Duration
    /// Snapshot at the latest this long after the first change that no snapshot holds.
    public var maxDelay: Duration
    /// Never start two snapshots, or two checks, closer than this.
    public var minInterval: Duration
    /// In place of `quiet` when the newest change was a commit point (close after write, fsync, rename over, unlink);
    /// nil: no difference is made.
    public var commitQuiet: Duration?
    /// How long to wait after a first failure; doubled at each further one in a row.
    public var backoffBase: Duration
    /// The longest wait between failures.
    public var backoffLimit: Duration

    /// Settings with the documented defaults for whatever is left out. Not checked: see `validated()`.
    public init(
        quiet: Duration = .seconds(2),
        maxDelay: Duration = .seconds(30),
        minInterval: Duration = .seconds(1),
        commitQuiet: Duration? = nil,
        backoffBase: Duration = .seconds(1),
        backoffLimit: Duration = .seconds(300)
    ) {
        self.quiet = quiet
        self.maxDelay = maxDelay
        self.minInterval = minInterval
        self.commitQuiet = commitQuiet
        self.backoffBase = backoffBase
        self.backoffLimit = backoffLimit
    }

    /// These settings, if they make sense together.
    ///
    /// - Throws: the first `SettingsError` found. The policy itself takes any settings without trapping.
    @discardableResult
    public func validated() throws(SettingsError) -> Settings {
        let all: [(SettingsError.Setting, Duration)] = [
            (.quiet, quiet), (.maxDelay, maxDelay), (.minInterval, minInterval), (.commitQuiet, commitQuiet ?? .zero),
            (.backoffBase, backoffBase), (.backoffLimit, backoffLimit),
        ]
        for (setting, value) in all where value < .zero {
            throw .negative(setting, value)
        }
        guard minInterval > .zero else { throw .zeroMinInterval }
        try ordered(.quiet, quiet, .maxDelay, maxDelay)
        if let commitQuiet {
            try ordered(.commitQuiet, commitQuiet, .quiet, quiet)
        }
        try ordered(.minInterval, minInterval, .maxDelay, maxDelay)
        try ordered(.backoffBase, backoffBase, .backoffLimit, backoffLimit)
        return self
    }

    /// What is given, and for the rest the defaults. Where one alone is given, the other's default follows it instead of
    /// contradicting it.
    public static func given(
        quiet: Duration? = nil, maxDelay: Duration? = nil, minInterval: Duration? = nil, commitQuiet: Duration? = nil
    ) throws(SettingsError) -> Settings {
        var settings = Settings()
        settings.quiet = quiet ?? min(settings.quiet, maxDelay ?? settings.quiet)
        settings.maxDelay = maxDelay ?? max(settings.maxDelay, settings.quiet, minInterval ?? .zero)
        settings.minInterval = minInterval ?? min(settings.minInterval, settings.maxDelay)
        settings.commitQuiet = commitQuiet
        return try settings.validated()
    }

    private func ordered(
        _ lesser: SettingsError.Setting, _ lesserValue: Duration,
        _ greater: SettingsError.Setting, _ greaterValue: Duration
    ) throws(SettingsError) {
        guard lesserValue <= greaterValue else {
            throw .exceeds(lesser, lesserValue, limit: greater, greaterValue)
        }
    }
}

/// Settings that contradict themselves. The description says which, and what to do about it.
public enum SettingsError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A setting's name, as a property (`kairos:max-delay`) or a flag (`--max-delay`) spells it.
    public enum Setting: String, Hashable, Sendable, CaseIterable {
        case quiet
        case maxDelay = "max-delay"
        case minInterval = "min-interval"
        case commitQuiet = "commit-quiet"
        case backoffBase = "backoff-base"
        case backoffLimit = "backoff-limit"
    }

    /// The setting is below zero.
    case negative(Setting, Duration)
    /// `min-interval` is zero: nothing would hold a busy dataset back.
    case zeroMinInterval
    /// The first setting is above the second, which must not be.
    case exceeds(Setting, Duration, limit: Setting, Duration)

    /// The message for whoever made the settings.
    public var description: String {
        switch self {
        case .negative(let setting, let value):
            "\(setting.rawValue) is \(value.exactText): it must not be negative"
        case .zeroMinInterval:
            "min-interval is zero: set it above zero (the default is 1s), or snapshots could follow without a pause"
        case .exceeds(let lesser, let lesserValue, let greater, let greaterValue):
            "\(lesser.rawValue) (\(lesserValue.exactText)) is longer than \(greater.rawValue) "
                + "(\(greaterValue.exactText)): lower \(lesser.rawValue) or raise \(greater.rawValue)"
        }
    }
}
