import ChildProcess
import Foundation
import NIOCore

/// The `result` of a task that ran a command.
struct CommandResult: Encodable {
    let exitCode: Int32?
    let signal: Int32?
    let durationSeconds: Double
    let userSeconds: Double
    let systemSeconds: Double
    let maxResidentBytes: Int64
    /// The file with the whole output, on the worker's host.
    let logFile: String?

    enum CodingKeys: String, CodingKey {
        case exitCode = "exit_code"
        case signal
        case durationSeconds = "duration_seconds"
        case userSeconds = "user_seconds"
        case systemSeconds = "system_seconds"
        case maxResidentBytes = "max_resident_bytes"
        case logFile = "log_file"
    }

    init(_ status: ChildProcess.ExitStatus, logFile: String? = nil) {
        self.logFile = logFile
        exitCode = status.exitCode
        signal = status.signal
        durationSeconds = Self.rounded(
            Double(status.duration.components.seconds) + Double(status.duration.components.attoseconds) * 1e-18)
        userSeconds = Self.rounded(status.userTime)
        systemSeconds = Self.rounded(status.systemTime)
        maxResidentBytes = status.maxResidentBytes
    }

    /// Rounds to milliseconds: the measurement is no more precise than that.
    private static func rounded(_ seconds: Double) -> Double { (seconds * 1000).rounded() / 1000 }

    /// The JSON text. Nil only if a number is not finite, which a measured duration always is.
    var json: ByteBuffer? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return (try? encoder.encode(self)).map { ByteBuffer(bytes: $0) }
    }
}

/// The end of a process's output, for the failure message: the last line of stderr or, if there is none, of stdout.
struct OutputTail {
    private var ends: [ChildProcess.OutputStream: [UInt8]] = [:]
    /// How much of each stream is kept.
    private static let bytes = 500

    mutating func append(_ chunk: ChildProcess.OutputChunk) {
        ends[chunk.stream] = Array(((ends[chunk.stream] ?? []) + chunk.bytes).suffix(Self.bytes))
    }

    /// The last line that is not blank, as a terminal shows it: a carriage return begins a line anew, and escape
    /// sequences and control characters are not shown.
    var lastLine: String? {
        for stream in [ChildProcess.OutputStream.stderr, .stdout] {
            // The end may begin within a character.
            let end = (ends[stream] ?? []).drop { 0x80...0xbf ~= $0 }
            let lines = end.split { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }
            let shown = lines.lazy.reversed().map { Self.shown(String(decoding: $0, as: UTF8.self)) }
            if let line = shown.first(where: { !$0.isEmpty }) { return line }
        }
        return nil
    }

    private static func shown(_ line: String) -> String {
        // CSI (colours, cursor movements), OSC (titles, links), and other escapes of two characters.
        let plain = line.replacing(
            /\u{1B}(?:\[[0-?]*[ -\/]*[@-~]|\][^\u{07}\u{1B}]*(?:\u{07}|\u{1B}\\)|[ -Z\\^-~])/, with: "")
        return String(
            String.UnicodeScalarView(
                plain.unicodeScalars.filter { $0 == "\t" || !($0.value < 0x20 || 0x7f...0x9f ~= $0.value) })
        ).trimmingCharacters(in: .whitespaces)
    }
}
