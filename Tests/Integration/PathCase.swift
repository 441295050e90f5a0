import CTestSupport
import Glibc
import Scratch
import SystemPackage
import Testing

/// One way to name a file, and the dataset that the change has to be told of.
struct PathCase: Sendable, CustomTestStringConvertible {
    var name: String
    /// Where the change is.
    var dataset: String
    /// What must be in the snapshot, by path from the cases' directory; nil: nothing may be there.
    var expected: [String: Entry?]
    /// The word for the change. Nil where its path cannot be resolved after the fact: then ZFS itself is asked, and the
    /// snapshot tells no detail.
    var kind: String? = "mkdir"
    /// The directory of dataset b is bound to `bind` outside.
    var isBound = false
    var act: @Sendable (Paths) throws -> Void

    var testDescription: String { name }

    /// The directories that the cases work in.
    struct Paths {
        let fixture: Fixture
        var mounts: String { fixture.pool.mountPoint }
        /// A directory on another file system.
        var outside: String { fixture.pool.directory + "/outside" }

        /// The cases' directory in a dataset.
        func directory(_ dataset: String) -> String { fixture.path(dataset) + "/paths" }
        func path(_ dataset: String, _ name: String) -> Argument { .text(directory(dataset) + "/" + name) }
        func outside(_ name: String) -> Argument { .text(outside + "/" + name) }
    }

    static let datasets = ["a", "a/nested", "b", "c", "sp ace"]

    /// Directories, files and links that the cases begin with.
    static func prepare(in fixture: Fixture) throws {
        let paths = Paths(fixture: fixture)
        for dataset in datasets {
            try makeDirectory(paths.directory(dataset) + "/sub/deep")
            try write("content", to: paths.directory(dataset) + "/file")
        }
        for name in ["bind", "hidden"] { try makeDirectory(paths.outside + "/" + name) }
        func link(_ target: String, _ path: String) throws { try call("symlinkat", .text(target), .here, .text(path)) }
        try link(paths.directory("b"), paths.outside + "/to-b")
        try link(paths.directory("b"), paths.directory("a") + "/to-b")
        try link("../../b/paths", paths.directory("a") + "/to-b-relative")
        try link(paths.directory("b") + "/file", paths.directory("a") + "/to-file")
        try link("../../b/paths/file", paths.directory("a") + "/to-file-relative")
        try link("/anywhere", paths.directory("a") + "/dangling")
        try write("content", to: paths.directory("a") + "/sub/moves")
        try makeDirectory(paths.directory("a") + "/goes")
    }

    private static func makes(
        _ name: String, in dataset: String, _ made: String, kind: String? = "mkdir", isBound: Bool = false,
        _ act: @escaping @Sendable (Paths) throws -> Void
    ) -> PathCase {
        PathCase(
            name: name, dataset: dataset, expected: [made: .directory], kind: kind, isBound: isBound,
            act: act)
    }

    static let all = relative + links + elsewhere

    private static let relative: [PathCase] = [
        makes("a name in the working directory", in: "a", "one") { paths in
            try call("mkdirat", .here, "one", 0o755, from: Place(directory: paths.directory("a")))
        },
        makes("a name with a slash behind it", in: "a", "slash") { paths in
            try call("mkdirat", .here, "slash/", 0o755, from: Place(directory: paths.directory("a")))
        },
        makes("several names below the working directory", in: "a", "sub/deep/several") { paths in
            try call("mkdirat", .here, "./sub//deep/several", 0o755, from: Place(directory: paths.directory("a")))
        },
        makes("..", in: "a", "up") { paths in
            try call("mkdirat", .here, "../up", 0o755, from: Place(directory: paths.directory("a") + "/sub"))
        },
        makes(".. out of a mount", in: "a", "out") { paths in
            try call("mkdirat", .here, "../paths/out", 0o755, from: Place(directory: paths.fixture.path("a/nested")))
        },
        makes("a/../b", in: "b", "back") { paths in
            try call("mkdirat", .here, "a/../b/paths/back", 0o755, from: Place(directory: paths.mounts))
        },
        makes("below a mount in the dataset, from the dataset above", in: "a/nested", "below") { paths in
            try call("mkdirat", .here, "nested/paths/below", 0o755, from: Place(directory: paths.fixture.path("a")))
        },
        makes("below a mount in the dataset, by an absolute path", in: "a/nested", "absolute") { paths in
            try call("mkdirat", .here, paths.path("a/nested", "absolute"), 0o755)
        },
        makes("an absolute path with slashes", in: "c", "slashes") { paths in
            try call("mkdirat", .here, paths.path("c", ".//slashes///"), 0o755)
        },
        makes("a dataset with a space in its name", in: "sp ace", "new") { paths in
            try call("mkdirat", .here, paths.path("sp ace", "new"), 0o755)
        },
        makes("several names below an open directory", in: "b", "sub/at") { paths in
            let directory = try OpenFile(paths.mounts, O_RDONLY | O_DIRECTORY)
            try call("mkdirat", .descriptor(directory.raw), "b/paths/sub/at", 0o755)
        },
        makes("an open directory with an absolute path", in: "c", "ignored") { paths in
            let directory = try OpenFile(paths.directory("b"), O_RDONLY | O_DIRECTORY)
            try call("mkdirat", .descriptor(directory.raw), paths.path("c", "ignored"), 0o755)
        },
        PathCase(
            name: "a rename across directories", dataset: "a",
            expected: ["sub/moves": nil, "sub/deep/moved": .file("content")], kind: "rename"
        ) { paths in
            try call("renameat2", .here, paths.path("a", "sub/moves"), .here, paths.path("a", "sub/deep/moved"), 0)
        },
        // Where it was cannot be told afterwards; the deletion before it can.
        PathCase(
            name: "a working directory that was deleted", dataset: "a",
            expected: ["goes": nil, "after": .directory], kind: "rmdir"
        ) { paths in
            let place = Place(directory: paths.directory("a") + "/goes", removed: paths.directory("a") + "/goes")
            try call("mkdirat", .here, "../after", 0o755, from: place)
        },
    ]

    private static let links: [PathCase] = [
        makes("a symbolic link from outside", in: "b", "outside") { paths in
            try call("mkdirat", .here, paths.outside("to-b/outside"), 0o755)
        },
        makes("a symbolic link to another dataset", in: "b", "linked") { paths in
            try call("mkdirat", .here, paths.path("a", "to-b/linked"), 0o755)
        },
        makes("a relative symbolic link to another dataset", in: "b", "relative") { paths in
            try call("mkdirat", .here, "to-b-relative/relative", 0o755, from: Place(directory: paths.directory("a")))
        },
        PathCase(
            name: "truncate through a symbolic link to another dataset", dataset: "b",
            expected: ["file": .file("cont")], kind: "truncate"
        ) { paths in
            try call("truncate", paths.path("a", "to-file"), 4)
        },
        PathCase(
            name: "truncate through a link in the working directory", dataset: "b",
            expected: ["file": .file("con")], kind: "truncate"
        ) { paths in
            try call("truncate", "to-file-relative", 3, from: Place(directory: paths.directory("a")))
        },
        PathCase(
            name: "chmod through a symbolic link to another dataset", dataset: "b",
            expected: ["file": .file("con")], kind: "attr"
        ) { paths in
            try call("fchmodat", .here, paths.path("a", "to-file"), 0o600)
        },
        PathCase(
            name: "chown of a symbolic link itself", dataset: "a",
            expected: ["to-file": .other(S_IFLNK | 0o777)], kind: "attr"
        ) { paths in
            try call("fchownat", .here, paths.path("a", "to-file"), 7, 7, .flags(AT_SYMLINK_NOFOLLOW))
        },
        PathCase(
            name: "unlink of a symbolic link itself", dataset: "a", expected: ["dangling": nil], kind: "unlink"
        ) { paths in
            try call("unlinkat", .here, paths.path("a", "dangling"), 0)
        },
    ]

    private static let elsewhere: [PathCase] = [
        makes("a bind mount", in: "b", "bound", isBound: true) { paths in
            try call("mkdirat", .here, paths.outside("bind/bound"), 0o755)
        },
        makes("a name in a working directory within a bind mount", in: "b", "bound-one", isBound: true) { paths in
            try call("mkdirat", .here, "bound-one", 0o755, from: Place(directory: paths.outside + "/bind"))
        },
        makes("a process with another root", in: "a", "rooted") { paths in
            try call("mkdirat", .here, "/paths/rooted", 0o755, from: Place(root: paths.fixture.path("a")))
        },
        makes("a process with another root, and .. above it", in: "a", "sub/rooted", kind: nil) { paths in
            let place = Place(root: paths.fixture.path("a"), directory: "/paths/sub")
            try call("mkdirat", .here, "../../../../paths/sub/rooted", 0o755, from: place)
        },
        makes("another root above the datasets", in: "c", "rooted") { paths in
            try call("mkdirat", .here, "/c/paths/rooted", 0o755, from: Place(root: paths.mounts))
        },
        makes("a mount namespace that is gone at once", in: "a", "namespace", kind: nil) { paths in
            try call("mkdirat", .here, paths.path("a", "namespace"), 0o755, from: Place(ownMounts: true))
        },
        makes("a mount that no other namespace has", in: "c", "hidden", kind: nil) { paths in
            let place = Place(ownMounts: true, bindFrom: paths.directory("c"), bindTo: paths.outside + "/hidden")
            try call("mkdirat", .here, paths.outside("hidden/hidden"), 0o755, from: place)
        },
        makes("a name in a working directory in another namespace", in: "c", "sub/there") { paths in
            let place = Place(ownMounts: true, directory: paths.directory("c") + "/sub")
            try call("mkdirat", .here, "there", 0o755, from: place)
        },
        makes("/proc/self/fd", in: "b", "magic", kind: nil) { paths in
            let directory = try OpenFile(paths.directory("b"), O_RDONLY | O_DIRECTORY)
            try call("mkdirat", .here, .text("/proc/self/fd/\(directory.raw)/magic"), 0o755)
        },
    ]
}
