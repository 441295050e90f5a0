import Glibc

extension Double {
    var logarithm: Double { log(self) }
}

extension WorkloadModel {
    static let documents = WorkloadModel(
        name: "documents",
        parameters:
            "5 documents of 20-120 KiB; in each sitting of 10-30 min one is saved every 30-180 s by a temporary file "
            + "and a rename; 3-10 min between sittings"
    ) { planner in
        for number in 0..<5 { planner.make("document-\(number).odt", count: planner.between(20_000...120_000)) }
        while planner.wait(planner.between(5...60)) {
            let document = "document-\(planner.between(0...4)).odt"
            var left = planner.between(600.0...1800)
            while left > 0 {
                let pause = planner.between(30.0...180)
                left -= pause
                guard planner.wait(pause) else { return }
                planner.save(document, count: planner.between(20_000...120_000), temporary: ".~lock.\(document)")
            }
            guard planner.wait(planner.between(180...600)) else { return }
        }
    }

    static let git = WorkloadModel(
        name: "git",
        parameters:
            "a work tree of 30 files of 1-20 KiB; one is overwritten in place every 20-90 s; every 5-15 min a commit (5 objects by "
            + "temporary file and rename, index.lock, a line in the log); every third time a checkout before it, 12 files within 1 s"
    ) { planner in
        planner.make(directory: "objects")
        for number in 0..<30 { planner.make("file-\(number).c", count: planner.between(1_000...20_000)) }
        planner.make("index", count: 3_000)
        planner.make("log", count: 200)
        var objects = 0
        for commit in 1... {
            let end = planner.between(300.0...900)
            var spent = 0.0
            while spent < end {
                let pause = planner.between(20.0...90)
                spent += pause
                guard planner.wait(pause) else { return }
                planner.overwrite("file-\(planner.between(0...29)).c", count: planner.between(1_000...20_000))
            }
            if commit % 3 == 0 {
                for number in 0..<12 {
                    guard planner.wait(0.08) else { return }
                    planner.unlink("file-\(number).c")
                    planner.make("file-\(number).c", count: planner.between(1_000...20_000))
                }
                planner.save("index", count: 3_000, temporary: "index.lock")
                guard planner.wait(30) else { return }
            }
            for _ in 0..<5 {
                guard planner.wait(0.02) else { return }
                objects += 1
                planner.save("objects/\(objects)", count: planner.between(300...6_000), temporary: "objects/tmp_obj")
            }
            planner.save("index", count: 3_000, temporary: "index.lock")
            planner.append("log", count: 150)
        }
    }

    static let build = WorkloadModel(
        name: "build",
        parameters:
            "40 object files of 4-30 KiB and a program of 300 KiB; every 4-12 min 1-40 objects are made anew, one each 0.1-0.8 s, then "
            + "the program"
    ) { planner in
        for number in 0..<40 { planner.make("part-\(number).o", count: planner.between(4_000...30_000)) }
        planner.make("program", count: 300_000)
        while planner.wait(planner.between(240...720)) {
            for number in 0..<planner.between(1...40) {
                planner.unlink("part-\(number).o")
                planner.make("part-\(number).o", count: planner.between(4_000...30_000))
                guard planner.wait(planner.between(0.1...0.8)) else { return }
            }
            planner.unlink("program")
            planner.make("program", count: 300_000)
        }
    }

    static let database = WorkloadModel(
        name: "database",
        parameters:
            "one file of 256 KiB in the manner of SQLite with a rollback journal: journal made and written, 1-3 pages of 4 KiB "
            + "written, journal deleted; transactions come by chance, every 8 s on average for 5-10 min, then none for 2-5 min"
    ) { planner in
        planner.make("data.db", count: 262_144)
        while true {
            var left = planner.between(300.0...600)
            while left > 0 {
                let pause = planner.chancePause(mean: 8)
                left -= pause
                guard planner.wait(pause) else { return }
                planner.make("data.db-journal", count: 4_608)
                for _ in 0..<planner.between(1...3) {
                    planner.write("data.db", at: 4096 * planner.between(0...63), count: 4096)
                }
                planner.unlink("data.db-journal")
            }
            guard planner.wait(planner.between(120...300)) else { return }
        }
    }

    static let mail = WorkloadModel(
        name: "mail",
        parameters:
            "a Maildir; mail of 1-20 KiB comes by chance, every 60 s on average, made in tmp and renamed to new; 10-120 s later it is "
            + "renamed to cur, and two of five are deleted 5-300 s after that"
    ) { planner in
        for directory in ["tmp", "new", "cur"] { planner.make(directory: directory) }
        for number in 0..<20 { planner.make("cur/old-\(number)", count: planner.between(1_000...20_000)) }
        var arrivals: [Double] = []
        var time = 0.0
        while time < planner.length {
            time += planner.chancePause(mean: 60)
            arrivals.append(time)
        }
        for (number, arrival) in arrivals.enumerated() {
            planner.restart()
            guard planner.wait(arrival) else { return }
            planner.make("tmp/\(number)", count: planner.between(1_000...20_000))
            planner.rename("tmp/\(number)", to: "new/\(number)")
            guard planner.wait(planner.between(10...120)) else { continue }
            planner.rename("new/\(number)", to: "cur/\(number)")
            let isDeleted = planner.chance(0.4)
            guard isDeleted, planner.wait(planner.between(5...300)) else { continue }
            planner.unlink("cur/\(number)")
        }
    }

    static let photos = WorkloadModel(
        name: "photos",
        parameters:
            "somewhere in the first third, 15 min at most, and then once in 30 min 20 photos of 128-256 KiB are imported, one each 0.5-1.5 s; two of them are deleted 1-4 min later"
    ) { planner in
        var batch = 0
        while planner.wait(planner.between(batch == 0 ? 20...max(30, min(900, planner.length / 3)) : 1_500...2_100)) {
            batch += 1
            planner.make(directory: "import-\(batch)")
            for number in 0..<20 {
                guard planner.wait(planner.between(0.5...1.5)) else { return }
                planner.make("import-\(batch)/\(number).jpg", count: planner.between(131_072...262_144))
            }
            for number in [3, 11] {
                guard planner.wait(planner.between(60...240)) else { return }
                planner.unlink("import-\(batch)/\(number).jpg")
            }
        }
    }

    static let mistake = WorkloadModel(
        name: "mistake",
        parameters:
            "a project of 20 files of 2-12 KiB, edited in place every 20-60 s; after 2-5 min and then every 12-20 min rm -rf of it, 0.2-8 s after an edit; "
            + "3-5 min later it is there again"
    ) { planner in
        func make(_ planner: inout Planner) {
            planner.make(directory: "project")
            for number in 0..<20 { planner.make("project/\(number).txt", count: planner.between(2_000...12_000)) }
        }
        make(&planner)
        var isFirst = true
        while true {
            var left = isFirst ? planner.between(120.0...300) : planner.between(720.0...1_200)
            isFirst = false
            while left > 0 {
                let pause = planner.between(20.0...60)
                left -= pause
                guard planner.wait(pause) else { return }
                planner.overwrite("project/\(planner.between(0...19)).txt", count: planner.between(2_000...12_000))
            }
            guard planner.wait(planner.between(0.2...8)) else { return }
            for number in 0..<20 { planner.unlink("project/\(number).txt") }
            planner.remove(directory: "project")
            guard planner.wait(planner.between(180...300)) else { return }
            make(&planner)
        }
    }

    static let night = WorkloadModel(
        name: "night", parameters: "200 files that nobody touches; one line is appended to a log every 25-35 min"
    ) { planner in
        for number in 0..<200 { planner.make("file-\(number)", count: 2_000) }
        planner.make("log", count: 500)
        while planner.wait(planner.between(1_500...2_100)) { planner.append("log", count: 80) }
    }

    static let ransomware = WorkloadModel(
        name: "ransomware",
        parameters:
            "60 files of 4-40 KiB, one edited in place every 60-180 s; once, somewhere in the middle third, all of them are rewritten under a "
            + "new name and the old one deleted, 20 a second"
    ) { planner in
        var sizes: [Int] = []
        for number in 0..<60 {
            sizes.append(planner.between(4_000...40_000))
            planner.make("file-\(number)", count: sizes[number])
        }
        let attack = planner.length * planner.between(0.34...0.66)
        var time = 0.0
        while true {
            let pause = planner.between(60.0...180)
            time += pause
            guard time < attack, planner.wait(pause) else { break }
            planner.overwrite("file-\(planner.between(0...59))", count: planner.between(4_000...40_000))
        }
        planner.restart()
        guard planner.wait(attack) else { return }
        for number in 0..<60 {
            planner.make("file-\(number).locked", count: sizes[number])
            planner.unlink("file-\(number)")
            guard planner.wait(0.05) else { return }
        }
    }
}
