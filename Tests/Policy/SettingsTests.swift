import Policy
import Testing

@Suite("Settings")
struct SettingsTests {
    @Test("The defaults are the documented ones, and good")
    func defaults() throws {
        let settings = try Settings().validated()
        #expect(settings.quiet == .seconds(2))
        #expect(settings.maxDelay == .seconds(30))
        #expect(settings.minInterval == .seconds(1))
        #expect(settings.commitQuiet == nil)
        #expect(settings.backoffBase == .seconds(1))
        #expect(settings.backoffLimit == .seconds(300))
    }

    @Test("Quiet, commit-quiet and back-off may be zero; limits may be met")
    func edges() throws {
        try Settings(quiet: .zero, commitQuiet: .zero, backoffBase: .zero, backoffLimit: .zero).validated()
        try Settings(quiet: .seconds(30), minInterval: .seconds(30), commitQuiet: .seconds(30)).validated()
    }

    @Test(
        "Contradictions",
        arguments: [
            (Settings(quiet: .seconds(-1)), .negative(.quiet, .seconds(-1))),
            (Settings(maxDelay: .seconds(-1)), .negative(.maxDelay, .seconds(-1))),
            (Settings(minInterval: .seconds(-1)), .negative(.minInterval, .seconds(-1))),
            (Settings(commitQuiet: .seconds(-1)), .negative(.commitQuiet, .seconds(-1))),
            (Settings(backoffBase: .seconds(-1)), .negative(.backoffBase, .seconds(-1))),
            (Settings(backoffLimit: .seconds(-1)), .negative(.backoffLimit, .seconds(-1))),
            (Settings(minInterval: .zero), .zeroMinInterval),
            (Settings(quiet: .seconds(31)), .exceeds(.quiet, .seconds(31), limit: .maxDelay, .seconds(30))),
            (Settings(minInterval: .seconds(31)), .exceeds(.minInterval, .seconds(31), limit: .maxDelay, .seconds(30))),
            (Settings(commitQuiet: .seconds(3)), .exceeds(.commitQuiet, .seconds(3), limit: .quiet, .seconds(2))),
            (
                Settings(backoffLimit: .zero),
                .exceeds(.backoffBase, .seconds(1), limit: .backoffLimit, .zero)
            ),
        ] as [(Settings, SettingsError)])
    func refuses(settings: Settings, error: SettingsError) {
        #expect(throws: error) { try settings.validated() }
    }

    @Test("The message says which and what to do")
    func message() {
        let error = SettingsError.exceeds(.quiet, .seconds(120), limit: .maxDelay, .seconds(30))
        #expect(error.description == "quiet (2m) is longer than max-delay (30s): lower quiet or raise max-delay")
    }
}
