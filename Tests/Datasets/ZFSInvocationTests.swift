import Testing

@testable import Datasets

@Suite("What another program's zfs command may have done")
struct ZFSInvocationTests {
    private func invocation(_ words: String) -> ZFSInvocation {
        ZFSInvocation(words.split(separator: " ").map { Array($0.utf8) })
    }

    @Test(
        "A command that reads is harmless",
        arguments: [
            "zfs list", "zfs list -t snapshot -r tank", "/usr/sbin/zfs get -Hp written tank/a", "zfs holds tank@a",
            "zfs hold keep tank@a", "zfs send -i tank@a tank@b", "zfs version", "zfs inherit kairos:nothing tank/a",
            "zpool list -H", "/sbin/zpool status -x", "zpool iostat 1", "zpool sync tank", "zpool scrub tank",
        ])
    func harmless(words: String) {
        #expect(invocation(words) == .harmless)
    }

    @Test(
        "A command that sets properties or makes datasets captures nothing",
        arguments: [
            "zfs set kairos:enabled=on tank/a", "zfs inherit kairos:quiet tank/a", "zfs create tank/b",
            "zfs clone tank/a@x tank/b", "zfs mount -a", "zfs load-key tank/a",
        ])
    func configures(words: String) {
        #expect(invocation(words) == .configures)
        #expect(!invocation(words).captures("tank/a"))
    }

    @Test("A snapshot may capture the datasets that it names and those below them, and no others")
    func snapshot() {
        let call = invocation("zfs snapshot -r -o user:note=x tank/a@now tank/b@now")
        for name in ["tank/a", "tank/a/deep/er", "tank/b"] { #expect(call.captures(name), "\(name)") }
        for name in ["tank", "tank/ab", "tank/c", "other"] { #expect(!call.captures(name), "\(name)") }
    }

    @Test(
        "A rollback, a receive or a destroyed snapshot likewise",
        arguments: [
            "zfs rollback -r tank/a@x", "zfs receive -F tank/a", "zfs recv -d -o quota=none tank/a",
            "zfs destroy tank/a@x,y", "zfs destroy tank/a#mark", "zfs diff tank/a@x",
        ])
    func others(words: String) {
        #expect(invocation(words).captures("tank/a"))
        #expect(invocation(words).captures("tank/a/child"))
        #expect(!invocation(words).captures("tank/b"))
    }

    @Test(
        "What cannot be told may have captured anything",
        arguments: [
            "zfs", "zfs promote tank/b", "zfs rename tank/x tank/y", "zfs program tank script", "zfs frobnicate tank/x",
            "zfs snapshot", "zfs destroy /tank/x", "zpool import tank", "zpool export tank", "sh /usr/bin/zfs list", "",
        ])
    func unknown(words: String) {
        #expect(invocation(words).captures("tank/a"))
    }

    @Test("Without arguments, or with bytes that are no text, anything is possible")
    func noArguments() {
        #expect(ZFSInvocation(nil).captures("tank/a"))
        #expect(ZFSInvocation([Array("zfs".utf8), [0xFF, 0xFE]]).captures("tank/a"))
        #expect(ZFSInvocation([[], Array("list".utf8)]).captures("tank/a"))
    }
}
