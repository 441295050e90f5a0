// swift-tools-version: 6.2
// Kairos: ZFS snapshots at the right time.

import PackageDescription

/// Every module of ours: Swift 6 mode, `any` spelled out, and no warning let through.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let systemPackage = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let sqlite = Target.Dependency.product(name: "GRDBSQLite", package: "GRDB.swift")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// Tests of the module NAME live in `Tests/NAME`.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name + "Tests", dependencies: dependencies, path: "Tests/" + name, swiftSettings: strict)
}

let package = Package(
    name: "kairos",
    products: [.executable(name: "kairos", targets: ["kairos"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.5.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.0.0"),
        // Without its default trait it would pull in Foundation: 44 MB in a static executable.
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.0", traits: []),
    ],
    targets: [
        // libbpf is linked statically, so that the loader is the one that was tested; libelf and zlib are on every
        // system that has libbpf-dev, and newer static libelfs want libraries that older ones do not know.
        .target(
            name: "CLibbpf",
            linkerSettings: [.linkedLibrary(":libbpf.a"), .linkedLibrary("elf"), .linkedLibrary("z")]
        ),
        // zlib for its CRC-32.
        .target(name: "CLinux", linkerSettings: [.linkedLibrary("z")]),
        .target(name: "CRestore"),
        .target(name: "CRecovery"),
        // Fills a table from libzfs_core at run time; links with no ZFS library.
        .target(name: "CZFSCore"),
        // `make` compiles bpf/ into Sources/CBPFObjects/objects; #embed (C23) puts the bytes into the executable.
        .target(name: "CBPFObjects", cSettings: [.headerSearchPath("../../bpf")]),

        module("Background", ["CLinux", systemPackage]),
        module("BPF", ["CLibbpf", systemPackage]),
        module("Policy", []),
        module("Datasets", ["Background", systemPackage]),
        module("Tracing", ["BPF", "CBPFObjects", "CLinux", "Datasets", systemPackage]),
        module("Trace", ["Tracing", "Datasets", "CLinux", systemPackage]),
        module("Snapshots", ["Background", "CLinux", "Datasets", "CZFSCore", systemPackage]),
        module("Retention", ["Policy", "Datasets", "Snapshots"]),
        module("Journal", ["Background", "CLinux", "Datasets", "Snapshots", systemPackage, grdb]),
        module("Recovery", ["Background", "CLinux", "CRecovery", "Datasets", "Snapshots", "Journal", systemPackage]),
        module("Restore", ["CLinux", "CRestore", "Datasets", "Background", systemPackage]),
        module(
            "Daemon",
            [
                "Background", "BPF", "Tracing", "Snapshots", "Retention", "Journal", "Datasets", "Policy", "CLinux",
                systemPackage,
            ]),
        module("Scratch", ["Background", "Datasets", "CLinux", systemPackage]),
        module(
            "Demo",
            [
                "Background", "Daemon", "Scratch", "Tracing", "Snapshots", "Datasets", "Policy", "CLinux", subprocess,
                systemPackage,
            ]
        ),
        module(
            "Bench",
            [
                "BPF", "Background", "CBPFObjects", "Scratch", "Snapshots", "Trace", "Tracing", "Policy", "Datasets",
                "Journal", "Recovery", "CLinux", systemPackage,
            ]),
        module(
            "Commands",
            [
                "BPF", "Background", "Bench", "Daemon", "Demo", "Scratch", "Trace", "Tracing", "Snapshots", "Datasets",
                "Policy", "Retention", "Journal", "Recovery", "Restore", "CLinux", systemPackage, argumentParser,
            ]
        ),
        .executableTarget(name: "kairos", dependencies: ["Commands", "CLinux", argumentParser], swiftSettings: strict),

        tests("Background", ["Background", systemPackage]),
        .target(name: "TestSupport", dependencies: ["Datasets"], path: "Tests/TestSupport", swiftSettings: strict),
        tests("Policy", ["Policy", "TestSupport"]),
        tests("Journal", ["Journal", "Datasets", "Snapshots", "TestSupport", grdb, sqlite]),
        tests("Retention", ["Retention", "Policy", "Datasets", "Snapshots", "TestSupport"]),
        tests("Recovery", ["Recovery", "Datasets", "Snapshots", "TestSupport", systemPackage]),
        tests("Datasets", ["Datasets", "Policy", "TestSupport"]),
        .target(name: "CFakeZFSCore", dependencies: ["CZFSCore"], path: "Tests/FakeZFSCore"),
        tests("Snapshots", ["Snapshots", "Datasets", "Scratch", "TestSupport", "CZFSCore", "CFakeZFSCore"]),
        // Makes and judges trees; depends on nothing of ours.
        .target(name: "CRestoreSupport", path: "Tests/RestoreSupport"),
        // Restores and is killed.
        .executableTarget(
            name: "kairos-restore-child", dependencies: ["Restore", systemPackage], path: "Tests/RestoreChild",
            swiftSettings: strict),
        tests(
            "Restore",
            [
                "Restore", "Datasets", "TestSupport", "CLinux", "CRestore", "CRestoreSupport", "kairos-restore-child",
                systemPackage, grdb,
            ]),
        tests(
            "Tracing", ["BPF", "Tracing", "Datasets", "CBPFObjects", "CTestSupport", "TestSupport", systemPackage]),
        tests("Trace", ["Trace", "Tracing", "Datasets", "CBPFObjects", "CLinux", "TestSupport", systemPackage]),
        tests("Bench", ["Bench", "Background", "CLinux", "Policy", "Trace", "Tracing", "TestSupport"]),
        tests(
            "Daemon",
            [
                "BPF", "Background", "CBPFObjects", "CLinux", "Daemon", "Tracing", "Snapshots", "Retention", "Datasets",
                "Policy", "TestSupport",
            ]),
        tests("Commands", ["Commands", "Datasets", argumentParser]),
        tests("Demo", ["Demo", "Daemon", "Tracing", "CBPFObjects", "Snapshots", "Policy", "TestSupport"]),
        .target(name: "CTestSupport", dependencies: ["CLibbpf"], path: "Tests/Support"),
        // Depends on nothing of ours, on purpose: it judges all of it.
        .executableTarget(
            name: "kairos-oracle",
            path: "Tests/Oracle",
            cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])]
        ),
        tests(
            "Integration",
            [
                "Scratch", "Snapshots", "Datasets", "BPF", "Tracing", "Bench", "Journal", "Policy", "CLinux",
                "CTestSupport", "TestSupport", "Recovery", "Background",
                "kairos", "kairos-oracle", subprocess, systemPackage, "Restore", "CRestoreSupport",
            ]
        ),
    ],
    cLanguageStandard: .gnu2x
)
