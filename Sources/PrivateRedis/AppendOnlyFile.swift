import FoundationEssentials
import Glibc

/// The end of the append-only file, as a crash, a full disk or a copy of a running server's file leaves it.
///
/// Redis writes what a function does between MULTI and EXEC. It drops a transaction that has no EXEC when it loads the
/// file. But if the file ends within a command, Redis 7.0 cuts it after the last whole command, so that the beginning
/// of the transaction stays in the file; what Redis appends follows it, and the next load executes both. This cuts the
/// file before the transaction, while no server uses it.
enum AppendOnlyFile {
    /// Removes an unfinished transaction or command at the end of the file that redis-server will append to. A file
    /// that is wrong in another way is left to Redis, which refuses it.
    /// - Returns: the number of the bytes that were removed.
    static func cutUnfinishedEnd(directory: String) throws -> Int {
        let folder = directory + "/appendonlydir/"
        guard let last = lastFile(manifest: folder + "appendonly.aof.manifest") else { return 0 }
        let path = folder + last
        let descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        // Redis says what is wrong with a file that cannot be opened.
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        // An empty file cannot be mapped.
        let size = Int(lseek(descriptor, 0, SEEK_END))
        guard size > 0, let bytes = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), bytes != MAP_FAILED else {
            return 0
        }
        let end = finishedEnd(of: UnsafeRawBufferPointer(start: bytes, count: size))
        munmap(bytes, size)
        guard let end, end < size else { return 0 }
        guard ftruncate(descriptor, off_t(end)) == 0 else {
            throw PrivateRedisError.directory(path: path, reason: "its unfinished end: \(errnoText())")
        }
        return size - end
    }

    /// The name of the last incremental file (`file <name> seq <n> type i`); nil if there is none.
    private static func lastFile(manifest: String) -> String? {
        // Without a manifest Redis starts a new file.
        guard let text = try? String(contentsOfFile: manifest, encoding: .utf8) else { return nil }
        let words = text.split(whereSeparator: \.isNewline).map { $0.split(separator: " ") }
        let name = words.last { $0.count == 6 && $0[0] == "file" && $0[4] == "type" && $0[5] == "i" }?[1]
        return name.flatMap { $0.contains("/") ? nil : String($0) }
    }

    /// Where the last whole transaction, or command outside of one, ends; nil if the bytes are no append-only file.
    static func finishedEnd(of bytes: UnsafeRawBufferPointer) -> Int? {
        var reader = Reader(bytes: bytes)
        var finished = 0
        var isInTransaction = false
        while reader.offset < bytes.count {
            switch reader.next() {
            case .unfinished: return finished
            case .malformed: return nil
            case .command(let name):
                switch name.uppercased() {
                case "MULTI" where isInTransaction: return nil
                case "MULTI": isInTransaction = true
                case "EXEC": isInTransaction = false
                default: break
                }
                if !isInTransaction { finished = reader.offset }
            }
        }
        return finished
    }

    private struct Reader {
        enum Item {
            /// A whole command with this name; empty: a comment.
            case command(String)
            /// The bytes end within it.
            case unfinished
            case malformed
        }

        let bytes: UnsafeRawBufferPointer
        var offset = 0

        /// Reads `*<count>`, and for each argument `$<length>` and the bytes, each with CR LF after it; or a comment.
        mutating func next() -> Item {
            if bytes[offset] == UInt8(ascii: "#") { return skipLine() ? .command("") : .unfinished }
            var name = ""
            switch number(after: UInt8(ascii: "*")) {
            case .failure(let problem): return problem.item
            case .success(let count):
                for index in 0..<count {
                    switch number(after: UInt8(ascii: "$")) {
                    case .failure(let problem): return problem.item
                    case .success(let length):
                        guard bytes.count - offset >= length + 2 else { return .unfinished }
                        if index == 0, length <= 16 {
                            name = String(decoding: bytes[offset..<offset + length], as: UTF8.self)
                        }
                        offset += length + 2
                        guard bytes[offset - 2] == UInt8(ascii: "\r"), bytes[offset - 1] == UInt8(ascii: "\n") else {
                            return .malformed
                        }
                    }
                }
                return .command(name)
            }
        }

        private struct Problem: Error {
            let item: Item
        }

        /// Without a string for each: a file may have a hundred million numbers.
        private mutating func number(after sign: UInt8) -> Result<Int, Problem> {
            guard offset < bytes.count else { return .failure(Problem(item: .unfinished)) }
            guard bytes[offset] == sign else { return .failure(Problem(item: .malformed)) }
            var (position, value) = (offset + 1, 0)
            while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
                value = value * 10 + Int(bytes[position] - UInt8(ascii: "0"))
                position += 1
                guard value <= Int(Int32.max) else { return .failure(Problem(item: .malformed)) }
            }
            guard position + 1 < bytes.count else { return .failure(Problem(item: .unfinished)) }
            guard position > offset + 1, bytes[position] == UInt8(ascii: "\r"),
                bytes[position + 1] == UInt8(ascii: "\n")
            else { return .failure(Problem(item: .malformed)) }
            offset = position + 2
            return .success(value)
        }

        /// Skips a line up to LF; false if there is none.
        private mutating func skipLine() -> Bool {
            guard let end = bytes[offset...].firstIndex(of: UInt8(ascii: "\n")) else { return false }
            offset = end + 1
            return true
        }
    }
}
