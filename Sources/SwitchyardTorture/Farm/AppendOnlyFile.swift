import Foundation
import SwitchyardTesting

/// The part of Redis's append-only file that grows.
struct AppendOnlyFile: Sendable {
    let path: String

    /// Finds it in the data directory of a redis-server that is down.
    init(directory: String) throws {
        let folder = directory + "/appendonlydir"
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".incr.aof") }
        func number(_ name: String) -> Int { Int(name.split(separator: ".").dropLast(2).last ?? "") ?? 0 }
        guard let newest = names.max(by: { number($0) < number($1) }) else {
            throw TortureError("\(folder): expected a file *.incr.aof, found \(names.count)")
        }
        path = folder + "/" + newest
    }

    var bytes: Int {
        get throws { Int(try FileHandle(forReadingFrom: URL(filePath: path)).seekToEnd()) }
    }

    private static let begin = Data("*1\r\n$5\r\nMULTI\r\n".utf8)
    private static let end = Data("*1\r\n$4\r\nEXEC\r\n".utf8)
    /// Far more than one call writes.
    private static let tailBytes: UInt64 = 1 << 20

    /// Appends the beginning of a transaction, and with it what a redis-server leaves that ends while it writes. The
    /// client of such a write has got no reply, so nothing acknowledged is lost. The transaction is the last one again.
    /// - Returns: how many bytes it has appended; 0: there is no transaction at the end of the file.
    func tear(_ random: inout SeededGenerator) throws -> Int {
        let file = try FileHandle(forUpdating: URL(filePath: path))
        defer { try? file.close() }  // it was only needed here; a failed write has thrown
        let size = try file.seekToEnd()
        try file.seek(toOffset: size > Self.tailBytes ? size - Self.tailBytes : 0)
        let tail = try file.readToEnd() ?? Data()
        guard let last = tail.range(of: Self.end, options: .backwards),
            let first = tail.range(of: Self.begin, options: .backwards, in: tail.startIndex..<last.lowerBound)
        else { return 0 }
        let transaction = tail[first.lowerBound..<last.lowerBound]
        let count = Int.random(in: Self.begin.count...transaction.count, using: &random)
        try file.seekToEnd()
        try file.write(contentsOf: transaction.prefix(count))
        return count
    }
}
