import NIOCore

// Which key decides on the node of a Redis Cluster that a command goes to. It is read from the formatted bytes only
// when a command is sent to a Cluster.

extension RedisCommand {
    /// Where the first key of a command is.
    private enum KeyPlace {
        /// It has none: any node carries it out.
        case none
        /// The argument at this index; the command's name is at 0.
        case at(Int)
        /// The argument behind the number of keys at this index.
        case counted(at: Int)
        /// The argument behind this word.
        case after(String)
    }

    /// Commands whose first key is not their first argument.
    private static let places: [String: KeyPlace] = [
        "FCALL": .counted(at: 2), "FCALL_RO": .counted(at: 2), "EVAL": .counted(at: 2), "EVALSHA": .counted(at: 2),
        "EVAL_RO": .counted(at: 2), "EVALSHA_RO": .counted(at: 2), "XREAD": .after("STREAMS"),
        "XREADGROUP": .after("STREAMS"), "BITOP": .at(2), "OBJECT": .at(2), "XINFO": .at(2), "XGROUP": .at(2),
        "MEMORY": .at(2), "PUBSUB": .at(2), "DEBUG": .at(2), "LMPOP": .counted(at: 1), "ZMPOP": .counted(at: 1),
        "BLMPOP": .counted(at: 2), "BZMPOP": .counted(at: 2), "SINTERCARD": .counted(at: 1),
        "ZUNION": .counted(at: 1), "ZINTER": .counted(at: 1), "ZDIFF": .counted(at: 1),
        "ZINTERCARD": .counted(at: 1),
    ]

    private static let keyless: Set = [
        "ACL", "ASKING", "AUTH", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE",
        "DISCARD", "ECHO", "EXEC", "FAILOVER", "FLUSHALL", "FLUSHDB", "FUNCTION", "HELLO", "INFO", "KEYS", "LASTSAVE",
        "LATENCY", "LOLWUT", "MODULE", "MONITOR", "MULTI", "PING", "PSUBSCRIBE", "PUBLISH", "QUIT", "RANDOMKEY",
        "READONLY", "READWRITE", "REPLICAOF", "RESET", "ROLE", "SAVE", "SCAN", "SCRIPT", "SELECT", "SHUTDOWN",
        "SLOWLOG", "SUBSCRIBE", "SWAPDB", "TIME", "UNWATCH", "WAIT",
    ]

    private var keyPlace: KeyPlace {
        let name = name.uppercased()
        return Self.places[name] ?? (Self.keyless.contains(name) ? .none : .at(1))
    }

    /// The hash slot of the first key; nil if the command has none.
    var slot: Int? {
        var arguments = FormattedArguments(formatted.bytes)
        let key: Range<Int>?
        switch keyPlace {
        case .none: return nil
        case .at(let index): key = arguments.argument(at: index)
        case .counted(let index):
            guard let count = arguments.argument(at: index), arguments.number(in: count) > 0 else { return nil }
            key = arguments.next()
        case .after(let word):
            while let argument = arguments.next(), !arguments.isWord(word, argument) {}
            key = arguments.next()
        }
        return key.map { HashSlot.of(key: formatted.bytes[$0]) }
    }
}

/// Finds the arguments in the bytes of a formatted command: `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`.
private struct FormattedArguments {
    private let bytes: UnsafeRawBufferPointer
    private var offset: Int

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        offset = 0
        _ = length()
    }

    /// Reads the number in a line `*n` or `$n`, and goes behind the line.
    private mutating func length() -> Int {
        var number = 0
        offset += 1
        while offset < bytes.count, bytes[offset] != UInt8(ascii: "\r") {
            number = number * 10 + Int(bytes[offset]) - Int(UInt8(ascii: "0"))
            offset += 1
        }
        offset += 2
        return number
    }

    /// Returns where the next argument is; nil after the last.
    mutating func next() -> Range<Int>? {
        guard offset < bytes.count else { return nil }
        let count = length()
        let start = offset
        offset += count + 2
        return start..<start + count
    }

    /// Returns where the argument at an index is, counted from the present one.
    mutating func argument(at index: Int) -> Range<Int>? {
        for _ in 0..<index { _ = next() }
        return next()
    }

    func number(in argument: Range<Int>) -> Int {
        Int(String(decoding: bytes[argument], as: UTF8.self)) ?? 0
    }

    func isWord(_ word: String, _ argument: Range<Int>) -> Bool {
        argument.count == word.utf8.count && String(decoding: bytes[argument], as: UTF8.self).uppercased() == word
    }
}
