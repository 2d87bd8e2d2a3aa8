import Foundation
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// A queue on which an earlier version of the function library has worked, as Redis commands that rebuild it.
/// `queue-of-version-4.py` writes such files, and documents the form of their times.
struct QueueDump: Sendable, CustomTestStringConvertible {
    let name: String
    private let commands: [[String]]

    var testDescription: String { name }

    /// - Parameter name: The name of a file beside this one, without its extension.
    init(_ name: String) {
        self.name = name
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: name + ".txt")
        let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
        commands = text.split(separator: "\n").map { line in
            line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        }
    }

    /// Replaces the queue by the dump. Its times are relative to the moment of the dump, which becomes now.
    func load(into queue: TestQueue) async throws {
        for name in try await queue.snapshot().contents.keys { try await queue.raw("UNLINK", "{}" + name) }
        let time = try await queue.redis.client.send(RedisCommand("TIME")).array ?? []
        let now = (time.first?.int ?? 0) * 1_000_000 + (time.last?.int ?? 0)
        let replies = try await queue.redis.client.pipeline(
            commands.map { words in
                let arguments = words.dropFirst().map { word in
                    RedisArgument.string(Self.text(of: word, at: now, prefix: queue.keys.prefix))
                }
                return RedisCommand(words[0], arguments)
            })
        for case .error(let error) in replies { throw error }
    }

    /// Replaces the relative times in a word of a command by absolute ones. `now` is in µs since 1970.
    private static func text(of word: String, at now: Int64, prefix: String) -> String {
        let epoch2024: Int64 = 1_704_067_200_000_000
        let absolute = word.replacing(/<(ms|us|tag)([+-]\d+)(?:\+(\d)\*(\d+))?>/) { match in
            let offset = Int64(match.2) ?? 0
            let levels = (match.3.flatMap { Int64($0) } ?? 0) * (match.4.flatMap { Int64($0) } ?? 0)
            switch match.1 {
            case "ms": return "\(now / 1000 + offset)"
            case "us": return "\(now + offset)"
            default: return "\(now - epoch2024 + offset + levels)"
            }
        }
        return absolute.hasPrefix("{}") ? prefix + absolute.dropFirst(2) : absolute
    }
}

// MARK: Reading

extension QueueDump {
    /// The arguments after the key `name` (as in `task:x`), with relative times; empty if there is no such key.
    private func arguments(_ name: String) -> [String] {
        commands.first { $0[1] == "{}" + name }.map { Array($0.dropFirst(2)) } ?? []
    }

    private static func pairs(_ words: [String]) -> [(String, String)] {
        stride(from: 0, to: words.count - 1, by: 2).map { (words[$0], words[$0 + 1]) }
    }

    func hash(_ name: String) -> [String: String] {
        Dictionary(uniqueKeysWithValues: Self.pairs(arguments(name)))
    }

    func task(_ id: String) -> [String: String] { hash("task:" + id) }

    var taskIDs: [String] {
        commands.filter { $0[1].hasPrefix("{}task:") }.map { String($0[1].dropFirst("{}task:".count)) }
    }

    /// The members of a sorted set, in their order.
    func order(_ name: String) -> [String] { Self.pairs(arguments(name)).map(\.1) }

    /// The live attempts of a worker: task ids with the numbers of the attempts.
    func attempts(of worker: String) -> [(id: String, attempt: Int)] {
        hash("attempts:" + worker).filter { !$0.key.hasPrefix("@") }.keys.sorted().map { id in
            (id, Int(task(id)["attempt"] ?? "") ?? 0)
        }
    }

    /// Whether no call sees the task, because its batch is staged.
    func isHidden(_ id: String) -> Bool {
        let fields = task(id)
        return fields["held_by"] == "batch" && hash("batch:" + (fields["batch"] ?? ""))["staged"] == "1"
    }

    /// Whether the task must be cancelled by an unfinished step: the end of a dependency, or of its batch.
    func isDoomed(_ id: String) -> Bool {
        let fields = task(id)
        guard TaskState(rawValue: fields["state"] ?? "")?.isTerminal == false else { return false }
        return fields["batch"] == "b-cancel" || id == "after-fan"
            || (fields["depends_on"] == "fan-root" && fields["run_anyway"] == nil)
    }
}
