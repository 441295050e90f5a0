/// Columns of text for people, as wide as they need to be; all but the last one to the right.
struct TextTable {
    private var rows: [[String]]

    init(_ headings: [String]) { rows = [headings] }

    mutating func add(_ cells: [String]) { rows.append(cells) }

    func print() {
        let last = (rows.first?.count ?? 1) - 1
        let widths = (0..<last).map { column in rows.map { $0[column].count }.max() ?? 0 }
        for row in rows {
            let cells = zip(row, widths).map { Human.right($0, $1) }
            Output.line(cells.joined(separator: "  ") + "  " + row[last])
        }
    }
}
