import Testing

@testable import Datasets

private func info(
    _ name: String, _ kind: DatasetInfo.Kind = .filesystem, enabled: PropertyValue? = nil, auto: PropertyValue? = nil
) -> DatasetInfo {
    var properties: [String: PropertyValue] = [:]
    properties[KairosProperty.enabled] = enabled
    properties[KairosProperty.autoSnapshot] = auto
    return DatasetInfo(name: name, kind: kind, guid: 1, properties: properties)
}

@Suite struct SelectionByPropertyTests {
    private static let on = PropertyValue("on", .local)
    private static let inherited = PropertyValue("on", .inherited(from: "tank"))

    @Test func table() {
        let datasets = [
            info("tank/z", enabled: Self.inherited),
            info("tank", enabled: Self.on),
            info("tank/off", enabled: PropertyValue("off", .local)),
            info("tank/no auto", enabled: Self.inherited, auto: PropertyValue("false", .local)),
            info("tank/auto", enabled: Self.on, auto: PropertyValue("true", .inherited(from: "tank"))),
            info("tank/vol", .volume, enabled: Self.inherited),
            info("other"),
            info("replica", enabled: PropertyValue("on", .received)),
            info("replica/child", enabled: PropertyValue("on", .inherited(from: "replica"))),
            info("lost", enabled: PropertyValue("on", .inherited(from: "gone"))),
        ]
        let selection = Selection.byProperty(datasets, volumes: false)
        #expect(selection.watched.map(\.name) == ["tank", "tank/auto", "tank/z"])
        #expect(
            selection.excluded == [
                Selection.Exclusion(dataset: "lost", reason: .originMissing("gone")),
                Selection.Exclusion(dataset: "replica", reason: .received(at: "replica")),
                Selection.Exclusion(dataset: "replica/child", reason: .received(at: "replica")),
                Selection.Exclusion(dataset: "tank/no auto", reason: .autoSnapshotOff),
                Selection.Exclusion(dataset: "tank/vol", reason: .volume),
            ]
        )
        #expect(selection.problems.isEmpty)
        #expect(selection.excluded.last?.description.hasPrefix("tank/vol is a volume") == true)
        let all = Selection.byProperty(datasets, volumes: true)
        #expect(all.watched.map(\.name) == ["tank", "tank/auto", "tank/vol", "tank/z"])
        #expect(!all.excluded.contains { $0.dataset == "tank/vol" })
    }

    @Test func otherValuesAreProblemsOnce() throws {
        let selection = Selection.byProperty(
            [
                info("tank", enabled: PropertyValue("yes\u{1B}", .local)),
                info("tank/a", enabled: PropertyValue("yes\u{1B}", .inherited(from: "tank"))),
                info("tank/b", enabled: PropertyValue("ON", .local)),
            ], volumes: false)
        #expect(selection.watched.isEmpty)
        #expect(selection.problems.map(\.dataset) == ["tank", "tank/b"])
        let text = try #require(selection.problems.first).description
        #expect(text.contains(#"tank has kairos:enabled='yes\u{1B}'"#))
        #expect(text.contains("zfs set kairos:enabled=on tank"))
    }
}

@Suite struct SelectionExplicitTests {
    private let datasets = [
        info("tank", enabled: PropertyValue("off", .local)),
        info("tank/a", enabled: PropertyValue("off", .inherited(from: "tank"))),
        info("tank/a/b", auto: PropertyValue("false", .inherited(from: "x"))),
        info("tank/a/off", enabled: PropertyValue("off", .local)),
        info("tank/ab"),
        info("tank/a/vol", .volume),
        info("tank/sp ace"),
    ]

    @Test func alone() throws {
        let selection = try Selection.explicit(
            ["tank/sp ace", "tank", "tank"], recursive: false, of: datasets, volumes: false)
        #expect(selection.watched.map(\.name) == ["tank", "tank/sp ace"])
        #expect(selection.notices.count == 1)
        let other = try Selection.explicit(["tank/a/b"], recursive: false, of: datasets, volumes: false)
        #expect(other.watched.map(\.name) == ["tank/a/b"])
        #expect(other.notices.first?.contains("com.sun:auto-snapshot=false") == true)
    }

    /// Commands that look into snapshots of zfs-fuse make them by the dozen.
    @Test func views() throws {
        let view = info(
            "tank/kairos-view-12-1", enabled: PropertyValue("off", .local), auto: PropertyValue("false", .local))
        let selection = try Selection.explicit(["tank"], recursive: true, of: datasets + [view], volumes: false)
        #expect(!selection.watched.contains { $0.name == view.name })
        #expect(!selection.excluded.contains { $0.dataset == view.name })
        // The name alone hides nothing.
        let other = info("tank/kairos-view-12-1")
        let with = try Selection.explicit(["tank"], recursive: true, of: datasets + [other], volumes: false)
        #expect(with.watched.contains { $0.name == other.name })
    }

    @Test func recursive() throws {
        let selection = try Selection.explicit(["tank/a"], recursive: true, of: datasets, volumes: false)
        #expect(selection.watched.map(\.name) == ["tank/a"])
        #expect(
            selection.excluded == [
                Selection.Exclusion(dataset: "tank/a/b", reason: .autoSnapshotOff),
                Selection.Exclusion(dataset: "tank/a/off", reason: .off),
                Selection.Exclusion(dataset: "tank/a/vol", reason: .volume),
            ]
        )
        let volumes = try Selection.explicit(["tank/a"], recursive: true, of: datasets, volumes: true)
        #expect(volumes.watched.map(\.name) == ["tank/a", "tank/a/vol"])
        let named = try Selection.explicit(["tank/a/vol"], recursive: false, of: datasets, volumes: true)
        #expect(named.watched.map(\.name) == ["tank/a/vol"])
        let all = try Selection.explicit(["tank", "tank/a/b"], recursive: true, of: datasets, volumes: false)
        #expect(all.watched.map(\.name) == ["tank", "tank/a", "tank/a/b", "tank/ab", "tank/sp ace"])
    }

    @Test(arguments: [
        ("tank/nope", SelectionError.Reason.unknown), ("tank/a/vol", .volume), ("tank/a@x", .snapshot),
        ("tank/a#x", .snapshot), ("/tank/a", .path), ("./x", .path), ("", .illegal(.empty)),
        ("tank/\u{1B}[2J", .illegal(.character("\u{1B}"))), ("-r", .illegal(.noLetterFirst)),
    ])
    func errors(name: String, reason: SelectionError.Reason) {
        do {
            _ = try Selection.explicit(["tank", name], recursive: false, of: datasets, volumes: false)
            Issue.record("no error for \(name)")
        } catch {
            #expect(error == SelectionError(name: name, reason: reason))
            #expect(error.description.unicodeScalars.allSatisfy(SafeText.isPrintable))
        }
    }
}
