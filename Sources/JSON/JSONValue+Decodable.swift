/// A value as a member of a type that is decoded. From a ``JSONValueDecoder`` it is the value itself. Any other decoder
/// keeps neither the order of members nor the digits of numbers beyond 64 bits: members are sorted by name, and other
/// numbers are doubles.
extension JSONValue: Decodable {
    package init(from decoder: any Decoder) throws {
        if let value = JSONValueDecoder.value(of: decoder) {
            self = value
            return
        }
        let container = try decoder.singleValueContainer()
        // Each `try?` asks whether the value is of that kind.
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .number("\(value)")
        } else if let value = try? container.decode(Double.self) {
            self.init(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self.init(sorted: try container.decode([String: JSONValue].self))
        }
    }
}
