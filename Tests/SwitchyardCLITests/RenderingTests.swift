import Foundation
import JSON
import Logging
import Testing

@testable import SwitchyardCLI

@Suite struct RenderingTests {
    @Test func columnsAreAlignedAndNumbersStandRight() {
        var table = Table([.text("ID"), .number("N"), .text("TASK")])
        table.rows = [["a", "1", "short"], ["longer", "1234", "x"]]
        #expect(table.render(colour: false) == "ID         N  TASK\na          1  short\nlonger  1234  x\n")
    }

    @Test func anEmptyColumnIsLeftOut() {
        var table = Table([.text("ID"), .text("WORKER"), .text("TASK")])
        table.rows = [["a", "", "x"], ["b", "", "y"]]
        #expect(table.render(colour: false) == "ID  TASK\na   x\nb   y\n")
    }

    @Test func coloursDoNotMoveTheColumns() {
        var table = Table([.text("S"), .text("T")])
        table.rows = [[Table.Cell("failed", .red), "x"], ["ok", "y"]]
        let plain = table.render(colour: false)
        let coloured = table.render(colour: true)
        #expect(coloured.contains("\u{1B}[31mfailed\u{1B}[0m  x"))
        #expect(coloured.replacing(#/\u{1B}\[\d*m/#, with: "") == plain)
    }

    @Test func whatOthersWroteCannotDriveTheTerminal() {
        var table = Table([.text("T")])
        table.rows = [["a\u{1B}[2Jb\u{7}\nc\u{9B}d"]]
        #expect(table.render(colour: false) == "T\na?[2Jb? c?d\n")
    }

    @Test func aLongCellIsCut() {
        var table = Table([.text("T")])
        table.rows = [[Table.Cell(String(repeating: "x", count: 100))]]
        #expect(table.render(colour: false).contains(String(repeating: "x", count: 59) + "…\n"))
    }

    @Test(arguments: [
        (0.0, "0ms"), (0.0421, "42ms"), (0.9996, "1s"), (4.23, "4.2s"), (59.96, "1m"), (60, "1m"), (200, "3m 20s"),
        (7500, "2h 5m"), (7200, "2h"), (273_600, "3d 4h"), (-1, "0s"), (.infinity, "?"), (1e300, "over 100 years"),
    ])
    func durationsAreHuman(seconds: Double, expected: String) {
        #expect(HumanTime.duration(seconds) == expected)
    }

    @Test func timesAreReadWithAndWithoutAFraction() {
        #expect(HumanTime.parse("2030-01-31T08:00:00Z")?.timeIntervalSince1970 == 1_896_076_800)
        #expect(HumanTime.parse("2030-01-31T08:00:00.250Z")?.timeIntervalSince1970 == 1_896_076_800.25)
        #expect(HumanTime.parse("tomorrow") == nil)
    }

    @Test func aCommandIsShownAsItWouldBeTyped() {
        #expect(CommandLineText.joined(["sh", "-c", "echo 'a'"]) == #"sh -c 'echo '\''a'\'''"#)
        #expect(CommandLineText.joined(["make", "", "--x=1"]) == "make '' --x=1")
    }

    @Test func noColorAndADumbTerminalAndAPipeMeanNoColour() {
        // The descriptor is no terminal here, whatever the environment says.
        let pipe = Pipe()
        let console = Console(descriptor: pipe.fileHandleForWriting.fileDescriptor, environment: [:])
        #expect(!console.isTerminal && !console.hasColour)
    }

    @Test func serverSentEventsAreParsedFromAnyPieces() {
        let text = "retry: 1000\n\nid: 1-0\ndata: {\"a\":1}\n\n: waiting\n\nevent: end\r\ndata: x\r\ndata: y\r\n\r\n"
        let expected = [
            EventStream.Event(name: "message", data: "{\"a\":1}", id: "1-0"),
            EventStream.Event(name: "end", data: "x\ny", id: "1-0"),
        ]
        for size in [1, 2, 7, 1000] {
            var stream = EventStream()
            var events: [EventStream.Event] = []
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                events += stream.feed(rest.prefix(size))
                rest = rest.dropFirst(size)
            }
            #expect(events == expected, "in pieces of \(size)")
        }
    }

    @Test func aLogLineIsOneLineOfJSON() throws {
        let line = StderrLogHandler.jsonLine(
            .error, "switchyard.x", "a\nb", ["task_id": "t\u{1B}1"], now: Date(timeIntervalSince1970: 0))
        #expect(!line.contains("\n"))
        let members = try JSONDecoder().decode([String: String].self, from: Data(line.utf8))
        #expect(
            members == [
                "time": "1970-01-01T00:00:00.000Z", "level": "error", "logger": "switchyard.x", "message": "a\nb",
                "task_id": "t\u{1B}1",
            ])
    }

    @Test func aLogLineForPeopleQuotesWhatHasSpaces() {
        let line = StderrLogHandler.textLine(
            .info, "it\nran", ["b": "x y", "a": "1"], now: Date(timeIntervalSince1970: 0))
        #expect(line == #"1970-01-01T00:00:00.000Z info     it ran a=1 b="x y""#)
    }

    @Test func numbersOfJSONStayWholeWhereTheyAre() throws {
        let text = #"{"a":[1,2.5,true,null,"x/y"],"b":9007199254740993}"#
        #expect(try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8)).text == text)
    }
}
