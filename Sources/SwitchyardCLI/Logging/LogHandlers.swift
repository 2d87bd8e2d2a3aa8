import Foundation
import JSON
import Logging

/// The format of log lines, which are written to stderr.
enum LogFormat: String, Sendable {
    /// For people: time, level, message, and metadata as name=value.
    case text
    /// For programs: one JSON object per line, with time, level, logger, message and the metadata.
    case json

    /// Makes every logger of this process write in this format. Call it once in a process.
    static func bootstrap(_ format: LogFormat, level: Logger.Level) {
        LoggingSystem.bootstrap { label in
            StderrLogHandler(label: label, format: format, logLevel: level)
        }
    }
}

/// Writes each event to stderr as one line in one write, so that lines of several threads do not mix.
struct StderrLogHandler: LogHandler {
    let label: String
    let format: LogFormat
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        let line =
            switch format {
            case .text: Self.textLine(event.level, "\(event.message)", all, now: Date())
            case .json: Self.jsonLine(event.level, label, "\(event.message)", all, now: Date())
            }
        // stderr may be closed; that must not end the process.
        try? Console.error.write(line + "\n")
    }

    static func textLine(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, now: Date) -> String {
        let colour: Colour? =
            switch level {
            case .critical, .error: .red
            case .warning: .yellow
            case .notice, .info: nil
            case .debug, .trace: .dim
            }
        let name = level.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
        let shownLevel = colour?.paint(name, if: Console.error.hasColour) ?? name
        let pairs = metadata.sorted { $0.key < $1.key }.map { "\($0.key)=\(quoted("\($0.value)"))" }
        let text = TerminalText.line(message)
        return ([time(now), shownLevel + " " + text] + pairs).joined(separator: " ")
    }

    static func jsonLine(
        _ level: Logger.Level, _ label: String, _ message: String, _ metadata: Logger.Metadata, now: Date
    ) -> String {
        var members: [String: JSONValue] = metadata.mapValues { .string("\($0)") }
        members["time"] = .string(time(now))
        members["level"] = .string(level.rawValue)
        members["logger"] = .string(label)
        members["message"] = .string(message)
        return JSONValue(sorted: members).text
    }

    private static func time(_ date: Date) -> String {
        date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }

    /// Quotes a value that is empty or has spaces, quotes, "=" or control characters, so that the line can be parsed.
    private static func quoted(_ value: String) -> String {
        let needsNoQuotes =
            !value.isEmpty
            && !value.unicodeScalars.contains {
                $0 == " " || $0 == "\"" || $0 == "=" || TerminalText.isUnsafe($0)
            }
        return needsNoQuotes ? value : TerminalText.json(JSONValue.string(value).text)
    }
}
