import Datasets
import TestSupport
import Testing
import Tracing

@testable import Trace

@Suite("An event as a JSON line")
struct JSONLinesTests {
    private let head = #"{"v":1,"time":"2026-11-22T09:05:00.123456789Z","ts_ns":5000000000,"#
    private let who = #""pid":4711,"tid":4712,"ppid":1,"uid":1000,"comm":"vim","dev":"8:1","inode":42,"generation":7,"#
    private let place = #""dataset":null,"fs":"ext4","#

    @Test("a write, whole")
    func write() {
        let wanted =
            head + #""op":"write","flags":[],"# + who + place
            + #""path":"/srv/notes.txt","old_path":null,"bytes":512,"offset":1024,"ret":512,"errno":null,"epoch":null,"#
            + #""probe":"vfs_write"}"#
        #expect(text(jsonLine(.sample())) == wanted)
    }

    @Test("a rename, with both paths")
    func rename() {
        let wanted =
            head + #""op":"rename","flags":[],"# + who + place
            + #""path":"/srv/b","old_path":"/srv/a","bytes":null,"offset":null,"ret":0,"errno":null,"epoch":null,"#
            + #""probe":"vfs_write"}"#
        #expect(text(jsonLine(.renamed)) == wanted)
    }

    @Test("every operation by its word", arguments: Operations.named.map(\.name))
    func operation(name: String) throws {
        let operation = try #require(Operations.named.first { $0.name == name }).operation
        let line = text(jsonLine(.plain(operation)))
        #expect(line.hasPrefix(head + #""op":"\#(name)","flags":[],"# + who), "\(line)")
    }

    @Test("a call that failed has the error's word; one that glibc does not know its number")
    func failures() {
        #expect(text(jsonLine(.failed(.unlink, 2))).contains(#""ret":-2,"errno":"ENOENT","#))
        #expect(text(jsonLine(.failed(.rename, 18))).contains(#""ret":-18,"errno":"EXDEV","#))
        #expect(text(jsonLine(.failed(.rename, 524))).contains(#""ret":-524,"errno":"E524","#))
    }

    /// A recording may hold any number.
    @Test("errors out of the range of errors do no harm", arguments: [.min, -1 << 40, .min + 1] as [Int64])
    func strangeErrors(result: Int64) {
        let line = text(jsonLine(.sample { $0.result = result }))
        #expect(line.contains(#""ret":\#(result),"errno":"E"#), "\(line)")
    }

    @Test("without a system call its result is not known")
    func noCall() {
        #expect(text(jsonLine(.sample { $0.flags = [] })).contains(#""ret":null,"errno":null,"#))
    }

    @Test("what is not known is null")
    func unknown() {
        let event = TraceEvent.sample {
            ($0.inode, $0.generation, $0.path, $0.bytes, $0.offset) = (nil, nil, nil, nil, nil)
            $0.probe = Probe(rawValue: 4000)
        }
        let line = text(jsonLine(event))
        for field in ["inode", "generation", "dataset", "path", "old_path", "bytes", "offset", "epoch", "probe"] {
            #expect(line.contains("\"\(field)\":null"), "\(field): \(line)")
        }
    }

    @Test("flags in their order, without the one that only says that there was a call")
    func flags() {
        let event = TraceEvent.sample {
            $0.flags = [.early, .unlinked, .directory, .given, .unreadable, .truncated, .call]
        }
        #expect(
            text(jsonLine(event)).contains(
                #""flags":["truncated","unreadable","given","directory","unlinked","early"],"pid""#))
        #expect(text(jsonLine(.sample { $0.flags = .given })).contains(#""flags":["given"],"#))
    }

    @Test("a dataset is on zfs, whichever ZFS it is")
    func dataset() {
        let line = text(jsonLine(.sample { $0.place = TracePlace(name: ascii("tank/home"), isDataset: true) }))
        #expect(line.contains(#""dataset":"tank/home","fs":"zfs","path""#))
    }

    @Test("numbers at their ends")
    func numbers() {
        let line = text(
            jsonLine(
                .sample {
                    ($0.time, $0.pid, $0.user, $0.inode) = (.max, .max, .max, .max)
                    ($0.bytes, $0.offset, $0.result, $0.epoch) = (.max, .min, .max, .max)
                    $0.device = DeviceNumber(kernel: .max)
                }))
        for piece in [
            #""ts_ns":18446744073709551615,"#, #""pid":4294967295,"#, #""uid":4294967295,"#, #""dev":"4095:1048575","#,
            #""inode":18446744073709551615,"#, #""bytes":18446744073709551615,"#, #""offset":-9223372036854775808,"#,
            #""ret":9223372036854775807,"#, #""epoch":18446744073709551615,"#,
        ] { #expect(line.contains(piece), "\(piece) in \(line)") }
    }

    @Test(
        "times: each second's calendar, the last nanosecond, and moments that no clock shows",
        arguments: [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_795_338_300_999_999_999, "2026-11-22T09:05:00.999999999Z"),
            (.max, "2262-04-11T23:47:16.854775807Z"),
            (-1, "1970-01-01T00:00:00.000000000Z"),
            (.min, "1970-01-01T00:00:00.000000000Z"),
        ] as [(Int64, String)])
    func times(wall: Int64, wanted: String) {
        #expect(text(jsonLine(.sample { $0.wall = wall })).contains("\"time\":\"\(wanted)\""))
    }

    @Test("the calendar is worked out anew for each second, forwards and backwards")
    func clockSteps() {
        let second: Int64 = 1_000_000_000
        let walls: [Int64] = [10 * second + 1, 10 * second + 2, 9 * second, 86_400 * second]
        let times = jsonLines(walls.map { wall in .sample { $0.wall = wall } }).map {
            text($0).dropFirst(15).prefix(30)
        }
        #expect(
            times == [
                "1970-01-01T00:00:10.000000001Z", "1970-01-01T00:00:10.000000002Z", "1970-01-01T00:00:09.000000000Z",
                "1970-01-02T00:00:00.000000000Z",
            ])
    }

    @Test("escapes: the short ones, by number, and of pairs")
    func escapes() {
        let line = text(jsonLine(.sample { $0.path = ascii("/\"\\\n\u{1B}\u{7F}\u{9B}\u{202E}\u{E0001}é") }))
        #expect(line.contains(#""path":"/\"\\\u000a\u001b\u007f\u009b\u202e\udb40\udc01é","#), "\(line)")
    }

    @Test("names that are not UTF-8 come in base64, beside null")
    func raw() {
        let event = TraceEvent.sample {
            $0.operation = .rename
            $0.path = [0x2F, 0xFF]
            $0.oldPath = [0x2F, 0xFF, 0xFE]
            $0.command = CommandName([0xFF])
        }
        let line = text(jsonLine(event))
        #expect(
            line.contains(#""path":null,"path_raw":"L/8=","old_path":null,"old_path_raw":"L//+","bytes""#), "\(line)")
        #expect(line.contains(#""comm":null,"comm_raw":"/w==","dev""#), "\(line)")
    }
}
