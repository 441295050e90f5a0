import TestSupport
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

@testable import Datasets

@Suite struct ZFSErrorTests {
    /// What zfs-fuse 0.7.0 said when provoked.
    @Test(arguments: [
        ("cannot open 'tank/nope': dataset does not exist", 1, ZFSError.Kind.datasetMissing),
        ("cannot create snapshot 'tank/helper@x': dataset already exists", 1, .exists),
        ("cannot snapshot 'tank/helper@x+y': invalid character '+' in name", 1, .invalidName),
        ("cannot open 'tank/$(touch x)': invalid dataset name", 1, .invalidName),
        ("cannot snapshot 'tank/helper@aaaa': name is too long", 1, .invalidName),
        ("cannot snapshot 'tank': missing '@' delimiter in snapshot name", 1, .invalidName),
        ("too many arguments\nusage:\n\tsnapshot [-r] ...", 2, .usage),
        ("bad property list: invalid property 'written'\nusage:\n", 2, .usage),
        ("unrecognized command 'sync'\nusage: zpool command args ...", 2, .usage),
        ("invalid type 'nothing'\nusage:\n", 2, .usage),
        ("connect: Permission denied\ninternal error: failed to initialize ZFS library", 1, .permission),
        (
            "connect: No such file or directory\nPlease make sure that the zfs-fuse daemon is running.\n"
                + "internal error: failed to initialize ZFS library", 1, .notRunning
        ),
        ("cannot destroy 'tank/helper@b': dataset is busy", 1, .busy),
        ("cannot set property for 'tank/helper@b': this property can not be modified for snapshots", 1, .other),
        ("internal error: Argument list too long", 134, .other),
    ])
    func zfsFuse(stderr: String, status: Int32, kind: ZFSError.Kind) {
        #expect(ZFSError.classify(stderr: stderr, exit: .status(status)) == kind)
    }

    /// Messages of OpenZFS, from lib/libzfs (libzfs_util.c, libzfs_dataset.c) and cmd/zfs.
    @Test(arguments: [
        ("cannot create snapshot 'tank/a@x': dataset already exists\nno snapshots were created", ZFSError.Kind.exists),
        ("cannot create snapshots : permission denied", .permission),
        ("cannot create snapshots : out of space", .noSpace),
        ("cannot create snapshot 'tank/a@x': out of space", .noSpace),
        ("cannot open 'tank': no such pool", .datasetMissing),
        ("cannot open 'tank': no such pool or dataset", .datasetMissing),
        ("cannot open 'tank/a': pool I/O is currently suspended", .poolSuspended),
        ("cannot create snapshots : pool I/O is currently suspended", .poolSuspended),
        ("The ZFS modules are not loaded.\nTry running '/sbin/modprobe zfs' as root to load them.", .notRunning),
        ("The ZFS modules cannot be auto-loaded.\nTry running 'modprobe zfs' as root", .notRunning),
        ("/dev/zfs and /proc/self/mounts are required.\nTry running 'udevadm trigger'", .notRunning),
        ("Permission denied the ZFS utilities must be run as root.", .permission),
        ("cannot set property for 'tank/a@x': permission denied", .permission),
        ("cannot create snapshot 'tank/a@x': dataset is busy", .busy),
        ("cannot open 'tank/a': I/O error", .other),
    ])
    func openZFS(stderr: String, kind: ZFSError.Kind) {
        #expect(ZFSError.classify(stderr: stderr, exit: .status(1)) == kind)
    }

    @Test func namesDoNotFoolIt() {
        for name in [
            "tank/out of space", "tank/a: permission denied", "tank/x: dataset is busy@y: z", "x': dataset is busy",
        ] {
            let text = "cannot open '\(name)': dataset does not exist"
            #expect(ZFSError.classify(stderr: text, exit: .status(1)) == .datasetMissing)
        }
        #expect(ZFSError.classify(stderr: "", exit: .status(2)) == .usage)
        #expect(ZFSError.classify(stderr: "", exit: .signal(6)) == .other)
    }

    @Test func everyErrorHasARemedyAndIsPrintable() {
        for kind in ZFSError.Kind.allCases {
            let error = ZFSError(
                operation: "zfs snapshot", arguments: ["snapshot", "tank/\u{1B}[2J@x"], kind: kind, exit: .status(1),
                stderr: ["said"]
            )
            #expect(!error.hint.isEmpty)
            #expect(error.description.hasPrefix(#"zfs snapshot 'tank/\u{1B}[2J@x': exit status 1: said; "#))
            #expect(error.description.unicodeScalars.allSatisfy(SafeText.isPrintable))
        }
    }
}

@Suite struct ZFSCommandTests {
    @Test func argumentsAndEnvironment() async throws {
        let fake = try FakeZFS()
        try fake.answer(#"printf 'out\tput\n'; echo word >&2"#)
        let hostile = ["snapshot", "-o", "a:b=$(touch pwned) `id` 'x' \"y\" ;&|<>*?~\\\n\t", "", "tank/sp ace@é"]
        let output = try await fake.command().run(hostile)
        #expect(output == Array("out\tput\n".utf8))
        #expect(try fake.calls() == [["zfs"] + hostile])
        // The shell of the script adds PWD and _ of its own.
        let environment = try fake.environment(call: 1).filter { !$0.hasPrefix("PWD=") && !$0.hasPrefix("_=") }
        #expect(environment == ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
        try await fake.command().runPool(["sync", "tank"])
        #expect(try fake.calls().last == ["zpool", "sync", "tank"])
    }

    @Test func standardInputIsEmptyAndGroupItsOwn() async throws {
        let fake = try FakeZFS()
        try fake.answer(#"cat; read -r _ _ _ _ pgrp _ < /proc/$$/stat; [ "$pgrp" = $$ ] && echo own"#)
        #expect(try await fake.command().run(["list"]) == Array("own\n".utf8))
    }

    @Test func failure() async throws {
        let fake = try FakeZFS()
        try fake.answer(#"echo partial; printf "cannot open 'tank/\033x': dataset does not exist\n" >&2; exit 1"#)
        do {
            try await fake.command().run(["get", "all", "tank/\u{1B}x"])
            Issue.record("no error")
        } catch {
            #expect(error.kind == .datasetMissing)
            #expect(error.exit == .status(1))
            #expect(error.operation == "zfs get")
            #expect(error.stderr == [#"cannot open 'tank/\u{1B}x': dataset does not exist"#])
            #expect(error.stdout == Array("partial\n".utf8))
        }
    }

    @Test func signal() async throws {
        let fake = try FakeZFS()
        try fake.answer("kill -9 $$")
        await #expect { try await fake.command().run(["list"]) } throws: { ($0 as? ZFSError)?.exit == .signal(9) }
    }

    @Test(.timeLimit(.minutes(1))) func timeLimitKillsTheGroup() async throws {
        let fake = try FakeZFS()
        // The sleep is a child of the script: killing the script alone would leave it, with the pipe open.
        try fake.answer(#"sleep 600 & echo $! > "$dir/child"; wait"#)
        let start = ContinuousClock.now
        do {
            try await fake.command().run(["list"], timeLimit: .milliseconds(300))
            Issue.record("no error")
        } catch {
            #expect(error.kind == .timedOut)
            #expect(error.exit == .signal(9))
        }
        #expect(ContinuousClock.now - start < .seconds(10))
        let child = try fake.read("child").prefix { $0 != "\n" }
        try await Task.sleep(for: .milliseconds(50))
        // Gone, or a zombie until init looks at it.
        let state = (try? MountTable.read(from: "/proc/\(child)/mountinfo"))?.entries.count ?? 0
        #expect(state == 0)
    }

    @Test func cancellingTheTaskDoesNotEndTheCommand() async throws {
        let fake = try FakeZFS()
        try fake.answer(#"sleep 0.3; echo done > "$dir/done""#)
        let command = fake.command()
        let task = Task { try await command.run(["snapshot", "tank@x"]) }
        task.cancel()
        _ = try await task.value
        #expect(try fake.read("done") == "done\n")
    }

    @Test(.timeLimit(.minutes(1))) func outputLimits() async throws {
        let fake = try FakeZFS()
        try fake.answer("exec cat /dev/zero")
        await #expect { try await fake.command().run(["list"]) } throws: { ($0 as? ZFSError)?.kind == .outputTooLarge }
        try fake.answer("head -c 1000000 /dev/zero")
        #expect(try await fake.command().run(["list"]).count == 1_000_000)
    }

    @Test func nulBytesAreRefused() async throws {
        let fake = try FakeZFS()
        await #expect { try await fake.command().run(["destroy", "tank/a\0b"]) } throws: {
            ($0 as? ZFSError)?.kind == .invalidName
        }
        #expect(try fake.calls().isEmpty)
    }

    @Test func missingCommands() async throws {
        await #expect { try await ZFSCommand(zfs: "/nonexistent/zfs").run(["list"]) } throws: {
            ($0 as? ZFSError)?.kind == .commandMissing
        }
        await #expect { try await ZFSCommand(zfs: "/nonexistent/zfs").runPool(["list"]) } throws: {
            ($0 as? ZFSError)?.kind == .commandMissing
        }
    }

    @Test func search() throws {
        let fake = try FakeZFS()
        let user = UInt32(getuid())
        let found = try ZFSCommand.find(in: ["/nonexistent", fake.directory], owner: user, timeLimit: nil)
        #expect(found.zfs == fake.directory + "/zfs")
        #expect(found.zpool == fake.directory + "/zpool")
        // As NixOS has its system's programs: what is run is the file that the link leads to.
        #expect(ZFSCommand.searchPath.contains("/run/current-system/sw/bin"))
        let profile = fake.directory + "/profile"
        #expect(symlink(".", profile) == 0)
        #expect(try ZFSCommand.find(in: [profile], owner: user, timeLimit: nil).zfs == found.zfs)

        let fault = { (owner: UInt32) -> String? in
            do throws(ZFSError) {
                _ = try ZFSCommand.find(in: ["/nonexistent", fake.directory], owner: owner, timeLimit: nil)
                return nil
            } catch {
                #expect(error.kind == .commandMissing)
                return error.description
            }
        }
        #expect(try #require(fault(user + 1)).contains("belongs to user"))
        chmod(fake.directory + "/zfs", 0o775)
        #expect(try #require(fault(user)).contains("others than its owner may write"))
        chmod(fake.directory + "/zfs", 0o644)
        #expect(try #require(fault(user)).contains("not executable"))
        unlink(fake.directory + "/zfs")
        #expect(try #require(fault(user)).contains("no zfs command in /nonexistent, \(fake.directory)"))
        symlink("/", fake.directory + "/zfs")
        #expect(try #require(fault(user)).contains("not a regular file"))
        unlink(fake.directory + "/zfs")
        symlink("zpool", fake.directory + "/zfs")
        #expect(try ZFSCommand.find(in: [fake.directory], owner: user, timeLimit: nil).zfs == fake.directory + "/zpool")
    }
}
