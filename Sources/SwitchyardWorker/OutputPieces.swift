import NIOCore

/// The output of an attempt that is not in the task's log yet, in pieces in their order of arrival. It does no I/O.
///
/// Output of the same stream that arrives together becomes one piece. A piece ends between characters, if the output
/// is UTF-8, because each piece is shown by itself.
struct OutputPieces {
    /// A part of one stream.
    struct Piece: Equatable {
        let stream: String
        var bytes: [UInt8]
    }

    /// What one call sends.
    struct Batch {
        /// How many bytes were dropped before the first piece.
        var missing: Int
        var pieces: [Piece]
        var bytes: Int { pieces.reduce(0) { $0 + $1.bytes.count } }
    }

    /// The size at which a piece is sent at once, and its maximum: an entry of the log has a cost of its own.
    static let pieceBytes = 8192
    /// Limit on the output of one call, which Redis takes a millisecond for.
    static let batchBytes = 128 * 1024

    private var pieces: [Piece] = []
    /// The beginning of a character, by stream: its end comes with the next output.
    private var partial: [String: [UInt8]] = [:]
    private var missing = 0
    /// The bytes of the pieces.
    private(set) var bytes = 0

    var isEmpty: Bool { pieces.isEmpty }

    mutating func append(_ stream: String, _ new: [UInt8]) {
        let held = partial.removeValue(forKey: stream) ?? []
        let whole = (held + new)[...]
        let rest = Self.lengthOfPartialCharacter(whole)
        if rest > 0 { partial[stream] = Array(whole.suffix(rest)) }
        add(stream, whole.dropLast(rest))
    }

    /// Records that the output has ended: a character that is still incomplete stays so.
    mutating func end() {
        for (stream, rest) in partial.sorted(by: { $0.key < $1.key }) { add(stream, rest[...]) }
        partial = [:]
    }

    private mutating func add(_ stream: String, _ new: ArraySlice<UInt8>) {
        bytes += new.count
        var rest = new
        while !rest.isEmpty {
            if pieces.last?.stream != stream || (pieces.last?.bytes.count ?? 0) >= Self.pieceBytes {
                pieces.append(Piece(stream: stream, bytes: []))
            }
            let room = Self.pieceBytes - pieces[pieces.count - 1].bytes.count
            let part = Self.wholeCharacters(rest, atMost: room)
            // Not even one character fits: the next piece begins with it.
            guard !part.isEmpty else {
                pieces.append(Piece(stream: stream, bytes: []))
                continue
            }
            pieces[pieces.count - 1].bytes += part
            rest = rest.dropFirst(part.count)
        }
    }

    /// Removes and returns the oldest output, or nil if there is none.
    mutating func take() -> Batch? {
        guard !pieces.isEmpty else { return nil }
        var size = 0
        let taken = pieces.prefix { piece in
            defer { size += piece.bytes.count }
            return size == 0 || size + piece.bytes.count <= Self.batchBytes
        }
        let batch = Batch(missing: missing, pieces: Array(taken))
        pieces.removeFirst(taken.count)
        missing = 0
        bytes -= batch.bytes
        return batch
    }

    /// Puts back a batch that was not sent, before the other output.
    mutating func putBack(_ batch: Batch) {
        pieces = batch.pieces + pieces
        missing += batch.missing
        bytes += batch.bytes
    }

    /// Drops the oldest output beyond `limit` bytes. A later batch says how much it was.
    mutating func drop(to limit: Int) {
        guard bytes > limit else { return }
        var dropped = 0
        let kept = pieces.drop { piece in
            guard bytes - dropped > limit else { return false }
            dropped += piece.bytes.count
            return true
        }
        pieces = Array(kept)
        bytes -= dropped
        missing += dropped
    }

    /// Returns the longest prefix of at most `most` bytes that ends between characters. Bytes that are not UTF-8 may be
    /// parted anywhere.
    private static func wholeCharacters(_ bytes: ArraySlice<UInt8>, atMost most: Int) -> ArraySlice<UInt8> {
        guard bytes.count > most else { return bytes }
        let part = bytes.prefix(most)
        return part.dropLast(lengthOfPartialCharacter(part))
    }

    /// Returns how many bytes at the end are the beginning of a character of UTF-8 that is longer; 0 to 3.
    private static func lengthOfPartialCharacter(_ bytes: ArraySlice<UInt8>) -> Int {
        for (count, byte) in bytes.reversed().prefix(3).enumerated() {
            switch byte {
            case 0x80...0xbf: continue
            case 0xc2...0xdf: return count + 1 < 2 ? count + 1 : 0
            case 0xe0...0xef: return count + 1 < 3 ? count + 1 : 0
            case 0xf0...0xf4: return count + 1 < 4 ? count + 1 : 0
            default: return 0
            }
        }
        return 0
    }
}
