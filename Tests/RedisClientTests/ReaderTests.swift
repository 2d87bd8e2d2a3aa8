import NIOCore
import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct ReaderTests {
    @Test(arguments: [1, 2, 3, 7, 64, 100_000])
    func valuesAreFoundHoweverTheBytesAreCut(pieceLength: Int) throws {
        let text = "+OK\r\n:-42\r\n$-1\r\n*-1\r\n$0\r\n\r\n*2\r\n*1\r\n:1\r\n-ERR no\r\n*0\r\n$5\r\na\r\nbc\r\n"
        let once: [RESPValue] = [
            .simpleString("OK"), .integer(-42), .null, .null, .bulkString(ByteBuffer()),
            .array([.array([.integer(1)]), .error(.server("ERR no", endpoint: "test"))]), .array([]),
            .bulkString(ByteBuffer(string: "a\r\nbc")),
        ]
        let reader = HiredisReader(endpoint: "test")
        var bytes = ByteBuffer(string: String(repeating: text, count: 500))
        var values: [RESPValue] = []
        while let piece = bytes.readSlice(length: min(pieceLength, bytes.readableBytes)), piece.readableBytes > 0 {
            try reader.feed(piece) { values.append($0) }
        }
        #expect(values == Array(repeatElement(once, count: 500).joined()))
    }

    @Test(arguments: ["hello\r\n", "HTTP/1.1 400 Bad Request\r\n", ":12x\r\n", "$-5\r\n", "*-7\r\n", "\0\0\0\0\r\n"])
    func whatIsNotRESPIsAProtocolViolation(text: String) {
        let reader = HiredisReader(endpoint: "test")
        let error = #expect(throws: RedisError.self) {
            try reader.feed(ByteBuffer(string: text)) { _ in }
        }
        #expect(error?.kind == .protocolViolation)
        #expect(error?.message.hasPrefix("test sent something that is not RESP2: ") == true)
    }

    @Test func anAnnouncedArrayTakesNoMemoryBeforeItArrives() throws {
        let reader = HiredisReader(endpoint: "test")
        try reader.feed(ByteBuffer(string: "*2000000000\r\n:1\r\n")) { _ in }
    }

    @Test(arguments: [
        ("WRONGTYPE Operation against", "WRONGTYPE"), ("LEASELOST", "LEASELOST"), ("ERR no", "ERR"),
        ("Error running script", "ERR"), ("-odd", "ERR"), ("", "ERR"), ("ERR: colon", "ERR"),
    ])
    func theCodeIsTheLeadingWordInCapitals(message: String, code: String) {
        #expect(RedisError.server(message, endpoint: "").code == code)
    }

    @Test func anErrorFromWithinAScriptIsNotTakenForNotNow() {
        #expect(RedisError.server("LOADING Redis is loading", endpoint: "").isNotNow)
        #expect(!RedisError.server("TRYAGAIN x script: f, on @user_function:3.", endpoint: "").isNotNow)
        #expect(!RedisError.server("BUSYGROUP Consumer Group name already exists", endpoint: "").isNotNow)
    }
}
