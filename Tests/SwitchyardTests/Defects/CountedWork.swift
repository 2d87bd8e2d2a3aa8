import RedisClient
import SwitchyardTesting

extension TestRedis {
    /// How many commands the server ran for `body`, those inside functions included. Nobody else may use it meanwhile.
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
    /// The bytes of all strings in it.
    var weight: Int {
        switch self {
        case .array(let elements): elements.reduce(0) { $0 + $1.weight }
        case .simpleString(let text): text.utf8.count
        case .bulkString(let buffer): buffer.readableBytes
        case .error, .integer, .null: 0
        }
    }

    /// How many values it is made of.
    var elementCount: Int { array.map { $0.reduce(1) { $0 + $1.elementCount } } ?? 1 }
}
