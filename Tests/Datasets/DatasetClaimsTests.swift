import TestSupport
import Testing

@testable import Datasets

/// Which mounts are taken for datasets. Lines as Linux 6.1 and 6.18 write them.
@Suite struct DatasetClaimsTests {
    private func table(_ text: String, hasKernelZFS: Bool = false) -> MountTable {
        MountTable(MountInfo(parsing: Array(text.utf8)), hasKernelZFS: hasKernelZFS)
    }

    private func device(_ minor: UInt32) throws -> DeviceNumber { try #require(DeviceNumber(major: 0, minor: minor)) }

    private let root = "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    private let real = "43 27 0:40 / /tank/home rw - fuse.zfs tank/home rw,user_id=0,group_id=0,allow_other\n"

    @Test("a user's FUSE mount with a lower device does not hide the dataset, and is reported", arguments: [39, 41])
    func usersMount(minor: UInt32) throws {
        let line = "42 27 0:\(minor) / /tmp/x rw,nosuid,nodev - fuse.zfs tank/home rw,user_id=65534,group_id=65534\n"
        let table = table(root + line + real)
        #expect(table.dataset(named: "tank/home")?.device == (try device(40)))
        #expect(table.mountPoints(of: "tank/home") == [Array("/tank/home".utf8)])
        #expect(table.dataset(on: try device(minor)) == nil)
        #expect(table.rejected.map(\.reason) == [.user(65534)])
        let problems = table.problems(of: ["tank/home"])
        #expect(problems.count == 1)
        #expect(problems.first?.text.contains("user 65534 on /tmp/x") == true, "\(problems)")
        #expect(table.problems(of: ["tank/other"]).isEmpty)
        // It comes and goes without a change of any dataset.
        #expect(table.changes(from: self.table(root + real)).isEmpty)
    }

    @Test(
        "only one exact user_id=0 is root's",
        arguments: [
            "rw", "", "rw,group_id=0", "rw,user_id=", "rw,user_id=00x", "rw,user_id=-0x1", "rw,user_id=1000,user_id=0",
            "rw,user_id=0,user_id=1000", "rw,xuser_id=0", "rw,context=user_id=0", "rw,user_id=4294967296",
            "rw rw,user_id=0", "rw,user_id=0 rw",
        ])
    func options(_ options: String) throws {
        let table = table(root + "42 27 0:39 / /tmp/x rw - fuse.zfs tank/home \(options)\n")
        #expect(table.datasets.isEmpty)
        #expect(table.rejected.count == 1)
    }

    @Test(
        "no text that a user chooses counts as the kernel's: it is escaped, or stands in another field",
        arguments: [
            // fsname=x,user_id=0; with blanks, as if the fields behind it were others; a subtype with blanks.
            #"42 27 0:39 / /tmp/x rw - fuse.zfs tank/home,user_id=0 rw,user_id=1000,group_id=1000"#,
            #"42 27 0:39 / /tmp/x rw - fuse.zfs tank/home\040rw,user_id=0 rw,user_id=1000,group_id=1000"#,
            #"42 27 0:39 / /tmp/x\040-\040fuse.zfs\040tank/home\040rw,user_id=0 rw - fuse.zfs tank/home rw,user_id=1000"#,
            #"42 27 0:39 / /tmp/-/x rw - fuse.zfs\040tank/home\040rw,user_id=0 tank/home rw,user_id=1000,group_id=1000"#,
            #"42 27 0:39 / /tmp/x rw - fuse.zfs tank/home\012\054user_id=0 rw,user_id=1000,group_id=1000"#,
        ])
    func injections(_ line: String) {
        #expect(table(root + line + "\n").datasets.isEmpty)
    }

    @Test("beside the kernel's OpenZFS no FUSE mount counts, not even root's")
    func besideKernel() throws {
        let text = root + real + "44 27 0:50 / /tank/k rw - zfs tank/k rw,xattr,noacl\n"
        #expect(table(text).datasets.values.map(\.name).sorted() == ["tank/home", "tank/k"])
        let beside = table(text, hasKernelZFS: true)
        #expect(beside.datasets.values.map(\.name) == ["tank/k"])
        #expect(beside.rejected.map(\.reason) == [.besideKernel])
        #expect(!beside.isMounted("tank/home"))
    }

    @Test("of two that can be reached none is the dataset, and both are reported")
    func ambiguous() throws {
        let other = "42 27 0:39 / /mnt/x rw - fuse.zfs tank/home rw,user_id=0,group_id=0\n"
        let table = table(root + other + real)
        #expect(table.datasets.isEmpty)
        #expect(table.dataset(named: "tank/home") == nil)
        #expect(table.isMounted("tank/home"))
        #expect(table.claimants(of: "tank/home").map(\.device) == [try device(39), try device(40)])
        let problems = table.problems(of: ["tank/home"])
        #expect(problems.count == 1)
        #expect(problems.first?.text.contains("/mnt/x (device 0:39) and /tank/home (device 0:40)") == true)
        // The dataset is gone while it is so, and comes back.
        let alone = self.table(root + real)
        #expect(table.changes(from: alone).vanished.map(\.name) == ["tank/home"])
        #expect(alone.changes(from: table).appeared.map(\.device) == [try device(40)])
    }

    @Test("the mount of a zfs-fuse that was killed lies below that of the next one, which counts")
    func covered() throws {
        let dead = "42 27 0:39 / /tank/home rw - fuse.zfs tank/home rw,user_id=0,group_id=0,allow_other\n"
        let next = "43 42 0:40 / /tank/home rw - fuse.zfs tank/home rw,user_id=0,group_id=0,allow_other\n"
        let table = table(root + dead + next)
        #expect(table.dataset(named: "tank/home")?.device == (try device(40)))
        #expect(table.problems(of: ["tank/home"]).isEmpty)
    }

    @Test("a user's mount over a dataset covers it, and the dataset stays the dataset")
    func usersCover() throws {
        let over = "44 43 0:39 / /tank/home rw - fuse.zfs tank/home rw,user_id=1000,group_id=1000\n"
        #expect(table(root + real + over).dataset(named: "tank/home")?.device == (try device(40)))
    }

    @Test("a message shows hostile names without what a terminal would obey")
    func messages() {
        let table = table(
            root + #"42 27 0:39 / /tmp/\033[2J rw - fuse.zfs tank/home rw,user_id=1000,group_id=1000"# + "\n")
        #expect(table.problems(of: ["tank/home"]).allSatisfy { $0.text.contains(#"/tmp/\u{1B}[2J"#) })
    }

    @Test("a random table has each name once, no rejected device, and no user's mount")
    func random() {
        var random = SplitMix64(seed: 7)
        for _ in 0..<500 {
            let entries = (0..<12).map { index in
                MountEntry(
                    mountID: Int32(index + 2), parentID: Int32.random(in: 1...Int32(index + 1), using: &random),
                    device: DeviceNumber(kernel: .random(in: 1...8, using: &random)), root: Array("/".utf8),
                    mountPoint: Array("/\(Int.random(in: 0..<4, using: &random))".utf8),
                    fsType: ["zfs", "fuse.zfs", "ext4"].randomElement(using: &random) ?? "",
                    source: Array(["t/a", "t/b", "t/a@x"].randomElement(using: &random) ?? "").flatMap { $0.utf8 },
                    fuseUser: [0, 0, 1000, nil].randomElement(using: &random) ?? nil)
            }
            let table = MountTable(entries: entries, hasKernelZFS: Bool.random(using: &random))
            #expect(Set(table.datasets.values.map(\.name)).count == table.datasets.count)
            #expect(table.rejected.allSatisfy { table.datasets[$0.device] == nil })
            for dataset in table.datasets.values {
                #expect(table.dataset(named: dataset.name) == dataset)
                #expect(table.claimants(of: dataset.name).isEmpty)
            }
        }
    }
}
