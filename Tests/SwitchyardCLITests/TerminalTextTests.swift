import Foundation
import JSON
import Testing

@testable import SwitchyardCLI

/// What others wrote, on a terminal.
@Suite struct TerminalTextTests {
    @Test(arguments: [
        ("a\r\nb", "a  b"), ("a\u{1B}[2Jb", "a?[2Jb"), ("a\u{9B}2J", "a?2J"), ("\u{202E}gnp.exe", "?gnp.exe"),
        ("a\u{2028}b\u{2029}c\u{85}d", "a?b?c?d"), ("\u{7F}\u{0}\u{7}", "???"), ("\u{2066}x\u{2069}\u{200F}", "?x??"),
        ("é 日本 👩‍👩‍👧 e\u{301}", "é 日本 👩‍👩‍👧 e\u{301}"), ("\r\u{301}x", " \u{301}x"),
    ])
    func aLineStaysALine(text: String, expected: String) {
        #expect(TerminalText.line(text).unicodeScalars.elementsEqual(expected.unicodeScalars))
    }

    @Test func noScalarBelowAnyPlaneGetsThrough() {
        for value in 0..<UInt32(0x11_0000) {
            guard let scalar = Unicode.Scalar(value), TerminalText.isUnsafe(scalar) else { continue }
            #expect(value < 0x10000)
            #expect(!TerminalText.line(String(scalar)).unicodeScalars.contains(where: TerminalText.isUnsafe))
        }
    }

    @Test func jsonKeepsItsMeaning() throws {
        let value: JSONValue = ["a": .string("\u{9B}2J\u{202E}\u{7F}\u{2028}é"), "b\u{85}": .number("1")]
        let text = TerminalText.json(value.text)
        #expect(!text.unicodeScalars.contains(where: TerminalText.isUnsafe))
        #expect(try JSONReader.read(Array(text.utf8)) == value)
        #expect(TerminalText.json("{\n\t\"a\": 1\r\n}") == "{\n\t\"a\": 1\r\n}")
    }

    /// What a task writes, and what of it reaches a terminal.
    static let outputs: [(String, String)] = [
        ("plain\ttext\r\nline\u{8}", "plain\ttext\r\nline\u{8}"),
        ("\u{1B}[31mred\u{1B}[0m \u{1B}[1;38;5;200mx\u{1B}[m", "\u{1B}[31mred\u{1B}[0m \u{1B}[1;38;5;200mx\u{1B}[m"),
        ("a\u{1B}[2J\u{1B}[H\u{1B}[10;10fb", "ab"), ("\u{1B}]0;title\u{7}x\u{1B}]52;c;Zm9v\u{1B}\\y", "xy"),
        ("\u{1B}[?25l\u{1B}[>4m\u{1B}(B\u{1B}cz", "z"),
        ("\u{1B}P1$r0m\u{1B}\\q\u{1B}_x\u{1B}\\\u{1B}^y\u{1B}\\r", "qr"),
        ("\u{9B}2Ja\u{9B}31mb\u{9D}0;t\u{7}c\u{85}d", "a\u{1B}[31mbcd"), ("\u{7}\u{0}\u{7F}\u{E}k", "k"),
        ("é日👩€\u{A0}ÿ", "é日👩€\u{A0}ÿ"), ("\u{1B}[\u{1B}[31mx", "\u{1B}[31mx"),
        ("\u{1B}[" + String(repeating: "1", count: 100) + "mx", String(repeating: "1", count: 35) + "mx"),
    ]

    @Test(arguments: [1, 2, 3, 1000]) func aTerminalGetsColoursButNoControl(size: Int) {
        for (output, expected) in Self.outputs {
            var filter = TerminalFilter()
            var passed: [UInt8] = []
            var rest = Array(output.utf8)[...]
            while !rest.isEmpty {
                passed += filter.filter(rest.prefix(size))
                rest = rest.dropFirst(size)
            }
            #expect(String(decoding: passed, as: UTF8.self) == expected, "\(output.debugDescription)")
        }
    }

    /// Bytes that are not UTF-8: a terminal of 8 bits would act on them.
    @Test func loneBytesOfTheUpperHalfAreNoControl() {
        var filter = TerminalFilter()
        let passed = filter.filter([0x41, 0x9B, 0x32, 0x4A, 0x42, 0x9D, 0x30, 0x07, 0x43, 0xBF, 0x80, 0x44])
        #expect(passed.allSatisfy { (0x41...0x44).contains($0) })
    }

    @Test func aLineWithoutAnEndIsPassedOnInPieces() {
        for size in [1, 7, 16384, 100_000] {
            var splitter = LineSplitter()
            var pieces: [[UInt8]] = []
            let text = [UInt8](repeating: 120, count: 40_000) + [10, 10] + Array("end\nrest".utf8)
            var rest = text[...]
            while !rest.isEmpty {
                splitter.feed(Array(rest.prefix(size))) { pieces.append($0) }
                rest = rest.dropFirst(size)
            }
            splitter.finish { pieces.append($0) }
            #expect(pieces.map(\.count) == [16384, 16384, 7232, 0, 3, 4], "in pieces of \(size)")
        }
    }

    /// The pool's own memory, while a worker writes a line without an end as fast as it can.
    @Test func aWorkersEndlessLineTakesNoMemory() async throws {
        let pool = try await Tool.start(
            [
                "autoscale", "--min", "1", "--max", "1", "--interval", "0.2", "--", "sh", "-c",
                "yes | tr -d '\\n' | head -c 60000000; echo; echo all of it; exec sleep 60",
            ], server: "http://127.0.0.1:1", limits: ["-v unlimited"])
        _ = try await Tool.eventually("all output came") { pool.stderr.contains("all of it") ? true : nil }
        let status = try String(contentsOfFile: "/proc/\(pool.process.processID)/status", encoding: .utf8)
        let peak = try #require(status.firstMatch(of: #/VmHWM:\s+(\d+) kB/#).flatMap { Int($0.1) })
        #expect(peak < 150_000, "\(peak) kB")
        pool.process.signalGroup(SIGINT)
        #expect(try await pool.end(within: .seconds(20)).exitCode == 0)
    }
}
