/// A page that needs nothing but itself: style and pictures are in it.
public struct HTMLPage: Sendable {
    var title: String
    private var body: [String] = []

    public init(title: String) { self.title = title }

    /// What several headings are below.
    public mutating func chapter(_ text: String) { body.append("<h2 class=\"chapter\">\(Self.escaped(text))</h2>") }

    public mutating func heading(_ text: String) { body.append("<h2>\(Self.escaped(text))</h2>") }

    public mutating func paragraph(_ text: String) { body.append("<p>\(Self.escaped(text))</p>") }

    /// - Parameter svg: as gnuplot draws it.
    mutating func picture(_ svg: String, caption: String) {
        body.append("<figure>\(svg)<figcaption>\(Self.escaped(caption))</figcaption></figure>")
    }

    /// The last column, which says what a row is of, comes first: on a narrow screen it stays when the others are scrolled.
    public mutating func table(_ headings: [String], _ rows: [[String]]) {
        func row(_ cells: [String], _ tag: String) -> String {
            "<tr>" + (cells.suffix(1) + cells.dropLast()).map { "<\(tag)>\(Self.escaped($0))</\(tag)>" }.joined()
                + "</tr>"
        }
        body.append(
            "<div class=\"wide\"><table><thead>\(row(headings, "th"))</thead><tbody>"
                + rows.map { row($0, "td") }.joined(separator: "\n") + "</tbody></table></div>")
    }

    public var text: String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>\(Self.escaped(title))</title>
        <style>
        :root { color-scheme: light dark; --ink: #1c2024; --paper: #ffffff; --faint: #60646c; --line: #d9d9e0; }
        @media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --paper: #18191b; --faint: #b0b4ba; --line: #43484e; } }
        body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
        h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h2.chapter { font-size: 1.4rem; border-bottom: 2px solid var(--line); }
        figure { margin: 1rem 0; } figcaption { color: var(--faint); font-size: .9rem; }
        svg { width: 100%; height: auto; } svg text { fill: var(--ink); }
        .wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
        th, td { padding: .25rem .45rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
        th { color: var(--faint); font-weight: 600; } th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
        </style>
        </head>
        <body>
        <h1>\(Self.escaped(title))</h1>
        \(body.joined(separator: "\n"))
        </body>
        </html>

        """
    }

    /// Names in a trace are other people's.
    static func escaped(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            default: escaped.unicodeScalars.append(scalar.value < 32 || scalar.value == 127 ? "\u{FFFD}" : scalar)
            }
        }
        return escaped
    }
}
