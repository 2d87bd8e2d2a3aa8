import RedisClient
import SwitchyardTesting

extension TestRedis {
    /// Returns the number of commands that the server ran for `body`, including those inside functions. Nothing else
    /// may use the server meanwhile.
    func commands(_ body: () async throws -> Void) async throws -> Int {
        let before = try await commandsSoFar()
        try await body()
        return try await commandsSoFar() - before
    }

    private func commandsSoFar() async throws -> Int {
        let text = try await client.send(RedisCommand("INFO", "commandstats")).string ?? ""
        var sum = 0
        for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix("cmdstat_") {
            guard !line.hasPrefix("cmdstat_info"), let start = line.range(of: "calls=") else { continue }
            sum += Int(line[start.upperBound...].prefix { $0.isNumber }) ?? 0
        }
        return sum
    }
}

extension RESPValue {
    /// The total size of the strings in the value, in bytes.
    var weight: Int {
        switch self {
        case .array(let elements): elements.reduce(0) { $0 + $1.weight }
        case .simpleString(let text): text.utf8.count
        case .bulkString(let buffer): buffer.readableBytes
        case .error, .integer, .null: 0
        }
    }

    /// The number of values in the reply, itself and nested ones included.
    var elementCount: Int { array.map { $0.reduce(1) { $0 + $1.elementCount } } ?? 1 }
}
