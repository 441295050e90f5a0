#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A JSON Schema, draft 2020-12, with the keywords that docs/trace-schema.json uses. Any other keyword is refused when the
/// schema is read: one that is passed over would be a check that is not made.
package struct JSONSchema: Sendable {
    package struct Problem: Error, Hashable, CustomStringConvertible {
        package let text: String
        package var description: String { text }
    }

    private let root: JSONValue

    private static let annotations: Set<String> = [
        "$schema", "$comment", "title", "description", "contentEncoding",
    ]
    private static let assertions: Set<String> = [
        "$ref", "$defs", "type", "enum", "const", "properties", "required", "additionalProperties", "dependentSchemas",
        "items", "uniqueItems", "minimum", "maximum", "minLength", "pattern", "allOf", "anyOf",
    ]

    package init(_ bytes: [UInt8]) throws {
        root = try JSONValue(parsing: bytes)
        try Self.check(root, "#")
    }

    /// docs/trace-schema.json of these sources; in a virtual machine, which has none, the copy beside the tests.
    package static func ofTrace(here: String = #filePath) throws -> JSONSchema {
        let top = here.split(separator: "/").dropLast(3)
        let path = top.map { "/" + $0 }.joined() + "/docs/trace-schema.json"
        guard let file = fopen(path, "re") ?? fopen("/kairos/trace-schema.json", "re") else {
            throw Problem(text: "cannot open \(path): errno \(errno)")
        }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
        return try JSONSchema(bytes)
    }

    /// What is wrong with a value; nothing when it is valid.
    package func problems(_ value: JSONValue) -> [String] { problems(value, root, "$") }

    /// What is wrong with one JSON text.
    package func problems(line: [UInt8]) -> [String] {
        do throws(JSONValue.SyntaxError) { return problems(try JSONValue(parsing: line)) } catch {
            return ["no JSON: \(error)"]
        }
    }

    // MARK: The schema itself

    private static func check(_ schema: JSONValue, _ place: String) throws {
        if case .bool = schema { return }
        guard let keywords = schema.object else { throw Problem(text: "\(place): no schema") }
        for (keyword, value) in keywords where !annotations.contains(keyword) {
            guard assertions.contains(keyword) else { throw Problem(text: "\(place): keyword \(keyword) is not known") }
            let here = place + "/" + keyword
            switch keyword {
            case "properties", "$defs", "dependentSchemas":
                for (name, part) in value.object ?? [:] { try check(part, here + "/" + name) }
            case "allOf", "anyOf":
                for (index, part) in (value.array ?? []).enumerated() { try check(part, here + "/\(index)") }
            case "items", "additionalProperties": try check(value, here)
            case "pattern": _ = try Regex(value.string ?? "(")
            default: break
            }
        }
    }

    // MARK: A value

    private func problems(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> [String] {
        if case .bool(let allows) = schema { return allows ? [] : ["\(place) must not be there"] }
        return (schema.object ?? [:]).flatMap { problems(value, $0.key, $0.value, schema, place) }.sorted()
    }

    private func problems(
        _ value: JSONValue, _ keyword: String, _ wanted: JSONValue, _ schema: JSONValue, _ place: String
    ) -> [String] {
        func unless(_ isValid: Bool, _ text: @autoclosure () -> String) -> [String] {
            isValid ? [] : ["\(place) \(text())"]
        }
        switch keyword {
        case "$ref":
            guard let target = target(wanted.string ?? "") else { return ["\(place): \(wanted) leads nowhere"] }
            return problems(value, target, place)
        case "type":
            let types = (wanted.array ?? [wanted]).compactMap(\.string)
            return unless(types.contains { Self.isOf(value, $0) }, "is \(value), no \(types.joined(separator: " or "))")
        case "enum": return unless(wanted.array?.contains(value) ?? false, "is \(value), none of the enumeration")
        case "const": return unless(wanted == value, "is \(value), not \(wanted)")
        case "minimum":
            guard let number = value.integer, let bound = wanted.integer else { return [] }
            return unless(number >= bound, "is \(number), below \(bound)")
        case "maximum":
            guard let number = value.integer, let bound = wanted.integer else { return [] }
            return unless(number <= bound, "is \(number), above \(bound)")
        case "minLength":
            guard let text = value.string, let bound = wanted.integer else { return [] }
            return unless(text.unicodeScalars.count >= bound, "is shorter than \(bound)")
        case "pattern":
            guard let text = value.string, let regex = try? Regex(wanted.string ?? "(") else { return [] }
            return unless(text.firstMatch(of: regex) != nil, "is '\(text)', which does not match \(wanted)")
        case "allOf": return (wanted.array ?? []).flatMap { problems(value, $0, place) }
        case "anyOf":
            let tried = (wanted.array ?? []).map { problems(value, $0, place) }
            return tried.contains([]) ? [] : ["\(place) fits no alternative: \(tried.flatMap(\.self))"]
        case "items":
            return (value.array ?? []).enumerated().flatMap { problems($0.element, wanted, "\(place)[\($0.offset)]") }
        case "uniqueItems":
            guard let items = value.array, wanted == .bool(true) else { return [] }
            return unless(Set(items).count == items.count, "has an item twice")
        default: return objectProblems(value, keyword, wanted, schema, place)
        }
    }

    private func objectProblems(
        _ value: JSONValue, _ keyword: String, _ wanted: JSONValue, _ schema: JSONValue, _ place: String
    ) -> [String] {
        guard let members = value.object else { return [] }
        switch keyword {
        case "required":
            return (wanted.array ?? []).compactMap(\.string).filter { members[$0] == nil }.map {
                "\(place).\($0) is missing"
            }
        case "properties":
            return (wanted.object ?? [:]).flatMap { name, part in
                members[name].map { problems($0, part, "\(place).\(name)") } ?? []
            }
        case "additionalProperties":
            let known = schema["properties"]?.object ?? [:]
            return members.filter { known[$0.key] == nil }.flatMap { problems($0.value, wanted, "\(place).\($0.key)") }
        case "dependentSchemas":
            return (wanted.object ?? [:]).filter { members[$0.key] != nil }.flatMap { problems(value, $0.value, place) }
        default: return []
        }
    }

    /// `#/$defs/NAME`.
    private func target(_ reference: String) -> JSONValue? {
        guard reference.hasPrefix("#/") else { return nil }
        return reference.dropFirst(2).split(separator: "/").reduce(root as JSONValue?) { $0?[String($1)] }
    }

    private static func isOf(_ value: JSONValue, _ type: String) -> Bool {
        switch value {
        case .null: type == "null"
        case .bool: type == "boolean"
        // 1.0 would be an integer to the draft; nothing here writes one.
        case .number: type == "number" || type == "integer" && value.integer != nil
        case .string: type == "string"
        case .array: type == "array"
        case .object: type == "object"
        }
    }
}
