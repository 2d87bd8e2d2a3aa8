import Testing

@testable import SwitchyardWorker

@Suite struct OutputPiecesTests {
    private func all(_ pieces: OutputPieces) -> (pieces: [OutputPieces.Piece], missing: Int) {
        var pieces = pieces
        var found: [OutputPieces.Piece] = []
        var missing = 0
        while let batch = pieces.take() {
            found += batch.pieces
            missing += batch.missing
        }
        return (found, missing)
    }

    @Test(arguments: [1, 2, 3, 5, 4096, 8191, 8192, 8193, 100_000])
    func anySplitOfTheInputGivesTheSameBytesInWholeCharacters(size: Int) {
        let bytes = Array(String(repeating: "aé€😀\u{10FFFF}", count: 2000).utf8)
        var pieces = OutputPieces()
        for start in stride(from: 0, to: bytes.count, by: size) {
            pieces.append("stdout", Array(bytes[start..<min(start + size, bytes.count)]))
        }
        pieces.end()
        #expect(pieces.bytes == bytes.count)
        let (found, missing) = all(pieces)
        #expect(found.flatMap(\.bytes) == bytes)
        #expect(missing == 0)
        for piece in found {
            #expect(String(validating: piece.bytes, as: UTF8.self) != nil)
            #expect(piece.bytes.count <= OutputPieces.pieceBytes)
        }
    }

    @Test func streamsKeepTheirOrderAndTheirOwnBrokenCharacters() {
        var pieces = OutputPieces()
        pieces.append("stdout", [0xe2, 0x82])
        pieces.append("stderr", Array("e".utf8))
        pieces.append("stdout", [0xac] + Array("!".utf8))
        pieces.append("stdout", [0xf0, 0x9f])
        pieces.end()
        #expect(
            all(pieces).pieces == [
                .init(stream: "stderr", bytes: Array("e".utf8)),
                .init(stream: "stdout", bytes: Array("€!".utf8) + [0xf0, 0x9f]),
            ])
    }

    @Test(arguments: [0, 1, 10_000, 1 << 20])
    func whatIsDroppedIsCountedOnce(limit: Int) {
        var pieces = OutputPieces()
        let size = 3_000_000
        pieces.append("stdout", [UInt8](repeating: 1, count: size))
        let batch = pieces.take()
        if let batch { pieces.putBack(batch) }
        pieces.drop(to: limit)
        #expect(pieces.bytes <= limit)
        pieces.append("stderr", [2])
        if let again = pieces.take() { pieces.putBack(again) }
        let (found, missing) = all(pieces)
        let kept = found.reduce(0) { $0 + $1.bytes.count }
        #expect(kept + missing == size + 1)
        #expect(found.last == .init(stream: "stderr", bytes: [2]))
    }
}
