import Datasets
import Policy
import Testing

@testable import Daemon

@Suite struct DatasetSettingsTests {
    private func info(_ properties: [String: String]) -> DatasetInfo {
        DatasetInfo(
            name: "tank/a", kind: .filesystem, guid: 1, mounted: true, mountPoint: "/tank/a",
            properties: properties.mapValues { PropertyValue($0, .local) })
    }

    @Test func withoutPropertiesTheDefaultsHold() {
        let (settings, problems) = DatasetSettings.read(info([:]), SettingsOverrides())
        #expect(settings.policy == Settings())
        #expect(settings.ignore.isEmpty)
        #expect(!settings.followsCommits)
        #expect(problems.isEmpty)
    }

    @Test func flagsWinOverProperties() {
        var overrides = SettingsOverrides()
        overrides.quiet = .seconds(5)
        let (settings, problems) = DatasetSettings.read(
            info([KairosProperty.quiet: "1s", KairosProperty.maxDelay: "1m", KairosProperty.ignore: "*.tmp"]), overrides
        )
        #expect(settings.policy.quiet == .seconds(5))
        #expect(settings.policy.maxDelay == .seconds(60))
        #expect(settings.ignore.ignores(path: Array("x.tmp".utf8)))
        #expect(problems.isEmpty)
    }

    @Test func aMalformedValueIsReportedAndItsDefaultUsed() throws {
        let (settings, problems) = DatasetSettings.read(
            info([KairosProperty.quiet: "soon", KairosProperty.maxDelay: "1m"]), SettingsOverrides())
        #expect(settings.policy.quiet == Settings().quiet)
        #expect(settings.policy.maxDelay == .seconds(60))
        let problem = try #require(problems.first)
        #expect(problem.contains("tank/a") && problem.contains("kairos:quiet") && problem.contains("soon"))
    }

    @Test func valuesThatContradictEachOtherGiveWayToTheDefaults() {
        let (settings, problems) = DatasetSettings.read(
            info([KairosProperty.quiet: "1h", KairosProperty.maxDelay: "1s"]), SettingsOverrides())
        #expect(settings.policy == Settings())
        #expect(problems.count == 1)
    }

    @Test func commitsMatterOnlyWhenTheyShortenTheWait() {
        let shorter = DatasetSettings.read(info([KairosProperty.commitQuiet: "300ms"]), SettingsOverrides())
        #expect(shorter.0.followsCommits)
        let same = DatasetSettings.read(info([KairosProperty.commitQuiet: "2s"]), SettingsOverrides())
        #expect(!same.0.followsCommits)
    }
}
