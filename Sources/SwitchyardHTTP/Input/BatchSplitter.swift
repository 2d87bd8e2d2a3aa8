import JSON

/// Finds the tasks in the text of a batch while it arrives, so that neither the text nor its values are in memory as a
/// whole. What is not a task is the head: `{"batch_id":"b","tasks":[],"on_complete":{…}}`, or `[]`.
///
/// It follows only strings and brackets. Whether a task or the head is JSON, its reader decides.
struct BatchSplitter {
    /// Something that the bytes completed.
    enum Found: Equatable {
        case task([UInt8])
        /// Another member `tasks`: it replaces the tasks so far.
        case newList
    }

    private(set) var head: [UInt8] = []
    /// The bytes of the task so far.
    private(set) var task: [UInt8] = []
    /// The depth of brackets: 0 outside.
    private var depth = 0
    /// The depth inside the list of tasks; nil outside of it.
    private var listDepth: Int?
    private var isInString = false
    private var isEscaped = false
    private var hasLists = false
    /// The head has only white space so far.
    private var isBlank = true
    private var isAfterComma = false
    /// The string that began last at depth 1, with its quotation marks, and whether a colon follows it.
    private var name: [UInt8] = []
    private var isNameComplete = false

    /// - Throws: ``JSONReader/Failure`` if there is nothing between two commas.
    mutating func feed(_ bytes: some Sequence<UInt8>) throws -> [Found] {
        var found: [Found] = []
        for byte in bytes { try take(byte, &found) }
        return found
    }

    private mutating func take(_ byte: UInt8, _ found: inout [Found]) throws {
        guard let listDepth else { return takeHead(byte, &found) }
        if isInString {
            task.append(byte)
            return followString(byte)
        }
        switch byte {
        case UInt8(ascii: "\""):
            isInString = true
            task.append(byte)
        case UInt8(ascii: ",") where depth == listDepth:
            found.append(try endTask())
        case UInt8(ascii: "]"), UInt8(ascii: "}"):
            guard depth == listDepth else {
                depth -= 1
                task.append(byte)
                break
            }
            if hasTask || isAfterComma { found.append(try endTask()) }
            isAfterComma = false
            depth -= 1
            self.listDepth = nil
            // A list that ends with a brace is not JSON; the reader of the head sees it.
            head.append(byte)
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            depth += 1
            task.append(byte)
        default: task.append(byte)
        }
    }

    private var hasTask: Bool { task.contains { !Self.isSpace($0) } }

    private mutating func endTask() throws -> Found {
        guard hasTask else {
            throw JSONReader.Failure(
                message: "expected a task, found a comma or the end of the list", line: 1, byte: head.count)
        }
        isAfterComma = true
        defer { task = [] }
        return .task(task)
    }

    private mutating func takeHead(_ byte: UInt8, _ found: inout [Found]) {
        head.append(byte)
        if isInString {
            if depth == 1 { name.append(byte) }
            return followString(byte)
        }
        switch byte {
        case UInt8(ascii: "\""):
            isInString = true
            if depth == 1 { (name, isNameComplete) = ([byte], false) }
        case UInt8(ascii: ":"): isNameComplete = depth == 1
        case UInt8(ascii: ","): if depth == 1 { isNameComplete = false }
        case UInt8(ascii: "["):
            let isList = depth == 0 ? isBlank : depth == 1 && isNamedTasks
            isBlank = false
            depth += 1
            guard isList else { break }
            listDepth = depth
            if hasLists { found.append(.newList) }
            hasLists = true
        case UInt8(ascii: "{"):
            depth += 1
            isBlank = false
        case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
        default: if !Self.isSpace(byte) { isBlank = false }
        }
    }

    /// Whether the value that begins is that of the member `tasks`. Its name may have escapes.
    private var isNamedTasks: Bool {
        // A failure means no.
        isNameComplete && (try? JSONReader.read(name)) == "tasks"
    }

    private mutating func followString(_ byte: UInt8) {
        if isEscaped {
            isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
            isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
            isInString = false
        }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }
}

/// Splits lines of JSON. Empty lines are skipped.
struct BodyLines {
    private(set) var line: [UInt8] = []

    mutating func feed(_ bytes: some Sequence<UInt8>) -> [[UInt8]] {
        var found: [[UInt8]] = []
        for byte in bytes {
            if byte == UInt8(ascii: "\n") { end(&found) } else { line.append(byte) }
        }
        return found
    }

    mutating func finish() -> [[UInt8]] {
        var found: [[UInt8]] = []
        end(&found)
        return found
    }

    private mutating func end(_ found: inout [[UInt8]]) {
        if line.contains(where: { $0 > 0x20 }) { found.append(line) }
        line = []
    }
}
