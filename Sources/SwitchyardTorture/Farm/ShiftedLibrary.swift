import Foundation
import Switchyard

/// The text of the function library with a clock that is off, and a version that no replica and no worker replaces.
struct ShiftedLibrary: Sendable {
    /// The text of the build, or one with a planted fault.
    let text: String

    static let version = FunctionLibrary.version + 1000
    private static let clockLine = "    local time = call('TIME')\n"

    /// - Parameters:
    ///   - seconds: how far its clock is ahead of that of Redis's host.
    ///   - version: its version.
    /// - Throws: ``TortureError`` if the text has no such lines.
    func source(ahead seconds: Int, version: Int64 = Self.version) throws -> String {
        var source = try Self.replace(
            "local VERSION = \(FunctionLibrary.version)\n", by: "local VERSION = \(version)\n", in: text)
        // What the private redis-server is configured for.
        source = try Self.replace("local SHORT_VALUE = 64\n", by: "local SHORT_VALUE = 4096\n", in: source)
        guard seconds != 0 else { return source }
        return try Self.replace(
            Self.clockLine,
            by: Self.clockLine + "    time[1] = string.format('%d', time[1] + (\(seconds)))\n", in: source)
    }

    private static func replace(_ line: String, by other: String, in text: String) throws -> String {
        let parts = text.components(separatedBy: line)
        guard parts.count == 2 else {
            throw TortureError("the function library: expected once, found \(parts.count - 1) times: \(line)")
        }
        return parts.joined(separator: other)
    }
}
