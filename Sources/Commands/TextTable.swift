/// Columns of text for people, as wide as they need to be: numbers to the right, the last one and words to the left.
struct TextTable {
    private var rows: [[String]]
    private let left: Set<Int>

    /// - Parameter left: columns of words, besides the last one.
    init(_ headings: [String], left: Set<Int> = []) {
        rows = [headings]
        self.left = left
    }

    mutating func add(_ cells: [String]) { rows.append(cells) }

    func print() {
        let last = (rows.first?.count ?? 1) - 1
        let widths = (0..<last).map { column in rows.map { $0[column].count }.max() ?? 0 }
        for row in rows {
            let cells = zip(row, widths).enumerated().map { column, cell in
                left.contains(column) ? Human.left(cell.0, cell.1) : Human.right(cell.0, cell.1)
            }
            // A line ends where its words do.
            var line = cells.joined(separator: "  ") + "  " + row[last]
            while line.last == " " { line.removeLast() }
            Output.line(line)
        }
    }
}
