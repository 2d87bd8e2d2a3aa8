/// Splits output into lines. A line without an end is passed on in pieces, so that it takes a bounded amount of memory.
struct LineSplitter {
    /// The longest piece of a line, in bytes.
    static let longest = 16 << 10

    private var partial: [UInt8] = []

    /// Passes each line that these bytes complete to `write`, without its line feed.
    mutating func feed(_ bytes: [UInt8], _ write: ([UInt8]) -> Void) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let room = rest.prefix(Self.longest - partial.count)
            let end = room.firstIndex(of: UInt8(ascii: "\n"))
            partial += room[..<(end ?? room.endIndex)]
            rest = rest[(end.map { $0 + 1 } ?? room.endIndex)...]
            if end != nil || partial.count == Self.longest {
                write(partial)
                partial.removeAll(keepingCapacity: true)
            }
        }
    }

    /// Passes on what came after the last line feed.
    mutating func finish(_ write: ([UInt8]) -> Void) {
        if !partial.isEmpty { write(partial) }
        partial = []
    }
}
