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

    enum CodingKeys: String, CodingKey {
        case exitCode = "exit_code"
        case signal
        case durationSeconds = "duration_seconds"
        case userSeconds = "user_seconds"
        case systemSeconds = "system_seconds"
        case maxResidentBytes = "max_resident_bytes"
    }

    init(_ status: ChildProcess.ExitStatus) {
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

    /// The last line that is not blank.
    var lastLine: String? {
        for stream in [ChildProcess.OutputStream.stderr, .stdout] {
            let lines = (ends[stream] ?? []).split(separator: UInt8(ascii: "\n"))
            if let line = lines.last(where: { $0.contains { $0 > 0x20 } }) {
                return String(decoding: line, as: UTF8.self)
            }
        }
        return nil
    }
}
