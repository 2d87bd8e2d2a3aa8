// Checks of scheduling options before a call, so that an error names the field. The functions in Redis check again.

extension SchedulingOptions {
    /// Checks the options, and returns them with each requirement in its canonical form.
    /// - Parameter path: a prefix of the field names in errors, such as `tasks[3].`.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)``.
    public func checked(path: String = "") throws(SchedulerError) -> SchedulingOptions {
        guard self != Self.none else { return self }
        var options = self
        try resources.check(path: "\(path)resources.")
        for option in TaskOption.all where !option.isResource && option.isSet(in: self) {
            try option.check(&options, field: path + option.name)
        }
        return options
    }

    /// No options.
    static let none = SchedulingOptions()
}

extension TaskOption {
    /// Checks an option that has a value. Requirements get their canonical form.
    fileprivate func check(_ options: inout SchedulingOptions, field: String) throws(SchedulerError) {
        switch kind {
        case .key(let property):
            try Check.text(options[keyPath: property] ?? "", bytes: 1...200, "1 to 200 bytes", field: field)
        case .text(let property, let maxBytes):
            try Check.text(
                options[keyPath: property] ?? "", bytes: 0...maxBytes, "at most \(maxBytes) bytes", field: field)
        case .number(let property, let range): try Check.number(options[keyPath: property], in: range, field: field)
        case .integer(let property, let range): try Check.number(options[keyPath: property], in: range, field: field)
        case .duration(let property, let range, _):
            try Check.number(options[keyPath: property]?.milliseconds, in: range, field: field)
        case .taskIDs(let property, let maximum):
            let ids = options[keyPath: property]
            guard ids.count <= maximum else {
                throw Check.failed(field, "at most \(maximum) tasks", found: "\(ids.count)")
            }
            for (index, id) in ids.enumerated() { _ = try Name.validate(id, field: "\(field)[\(index)]") }
        case .requirements(let property):
            for (index, requirement) in options[keyPath: property].enumerated() {
                options[keyPath: property][index] = try Requirement.normalized(
                    requirement, field: "\(field)[\(index)]")
            }
            try Check.total(options[keyPath: property].joined(separator: ","), field: field)
        case .flag, .amounts: break
        }
        if let needs, let needed = Self.named(needs), !needed.isSet(in: options) {
            throw Check.failed(field, "the key that it belongs to", found: "none")
        }
    }
}

extension Resources {
    /// The range of ``cpu`` and of custom amounts.
    public static let amounts = 0.0...1_000_000.0
    /// The range of ``memoryMB``.
    public static let megabytes = 0...1_000_000_000

    /// Checks the names and the amounts.
    /// - Parameter path: a prefix of the field names in errors, such as `resources.`.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)``.
    public func check(path: String = "") throws(SchedulerError) {
        try Check.number(cpu, in: Self.amounts, field: "\(path)cpu")
        try Check.number(memoryMB, in: Self.megabytes, field: "\(path)memory_mb")
        for (name, amount) in custom.sorted(by: { $0.key < $1.key }) {
            let field = path + (Requirement.isWord(name) ? name : Name.shown(name))
            guard Requirement.isWord(name), name != "cpu", name != "memory_mb" else {
                throw Check.failed(field, "the name of a resource, of A-Z a-z 0-9 . _ : -", found: Name.shown(name))
            }
            try Check.number(amount, in: Self.amounts, field: field)
        }
        try Check.total(custom.map { "\($0.key)=\($0.value.plainText)" }.joined(separator: ","), field: path)
    }
}

/// A requirement on a worker's labels.
enum Requirement {
    static func normalized(_ text: String, field: String) throws(SchedulerError) -> String {
        let spaced = text.split(separator: " in ", maxSplits: 1).map { $0.trimmingSpaces }
        if spaced.count == 2, isWord(spaced[0]), spaced[1].hasPrefix("("), spaced[1].hasSuffix(")") {
            let values = spaced[1].dropFirst().dropLast().split(separator: ",", omittingEmptySubsequences: false)
                .map { $0.trimmingSpaces }
            if values.allSatisfy(isWord) { return "\(spaced[0])=\(Set(values).sorted().joined(separator: "|"))" }
        } else if let equals = text.firstIndex(of: "=") {
            var key = text[..<equals]
            let isNegated = key.last == "!"
            if isNegated { key.removeLast() }
            let values = text[text.index(after: equals)...].split(separator: "|", omittingEmptySubsequences: false)
                .map(String.init)
            if isWord(String(key)), values.allSatisfy(isWord) {
                return "\(key)\(isNegated ? "!=" : "=")\(Set(values).sorted().joined(separator: "|"))"
            }
        } else if isWord(text) {
            return text
        }
        throw Check.failed(
            field, "key, key=value, key!=value, key=one|other or key in (one,other)", found: Name.shown(text))
    }

    static func isWord(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy(Name.isAllowed)
    }
}

enum Check {
    static func failed(_ field: String, _ expected: String, found: String) -> SchedulerError {
        .invalidInput(field: field, message: "\(field): expected \(expected), found \(found)")
    }

    /// Checks that a number, if there is one, is in its range.
    static func number<Number: Comparable>(
        _ value: Number?, in range: ClosedRange<Number>, field: @autoclosure () -> String
    ) throws(SchedulerError) {
        guard let value, !range.contains(value) else { return }
        throw failed(field(), "a number from \(range.lowerBound) to \(range.upperBound)", found: "\(value)")
    }

    /// Checks a text that a caller chooses, such as a repository's name: its bytes of UTF-8, and that it has no control
    /// characters.
    static func text(
        _ text: String, bytes range: ClosedRange<Int>, _ expected: String, field: String
    ) throws(SchedulerError) {
        guard range.contains(text.utf8.count) else { throw failed(field, expected, found: "\(text.utf8.count)") }
        guard text.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else {
            throw failed(field, "text without control characters", found: Name.shown(text))
        }
    }

    /// Checks the length of a list as text: the functions in Redis refuse a longer one.
    static func total(_ text: String, field: @autoclosure () -> String) throws(SchedulerError) {
        guard text.utf8.count <= 900 else {
            throw failed(field(), "at most 900 bytes in all", found: "\(text.utf8.count)")
        }
    }
}

extension Substring {
    fileprivate var trimmingSpaces: String {
        var text = self
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
