// Checks of scheduling options before a call, so that an error names the field. The functions in Redis check again.

extension SchedulingOptions {
    /// The range of ``fairnessWeight``.
    public static let weights = 0.001...1000.0
    /// The range of ``ratePerSecond``.
    public static let rates = 0.0001...100_000.0
    /// The range of ``rateBurst`` and ``concurrencyLimit``.
    public static let counts = 1...1_000_000
    /// The range of ``uniqueFor`` in milliseconds: up to a year.
    public static let uniqueMilliseconds = 1...31_536_000_000
    /// The maximum number of ids in ``dependsOn``.
    public static let maxDependencies = 1000

    /// Checks the options, and returns them with each requirement in its canonical form.
    /// - Parameter path: a prefix of the field names in errors, such as `tasks[3].`.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)``.
    public func checked(path: String = "") throws(SchedulerError) -> SchedulingOptions {
        var options = self
        for (index, requirement) in requires.enumerated() {
            options.requires[index] = try Requirement.normalized(requirement, field: "\(path)requires[\(index)]")
        }
        try Check.total(options.requires.joined(separator: ","), field: "\(path)requires")
        try resources.check(path: "\(path)resources.")
        for (name, key) in [
            ("affinity_key", affinityKey), ("group_key", groupKey), ("fairness_key", fairnessKey),
            ("concurrency_key", concurrencyKey), ("rate_key", rateKey), ("unique_key", uniqueKey),
        ] {
            if let key { try Check.key(key, field: path + name) }
        }
        try Check.number(fairnessWeight, in: Self.weights, field: "\(path)fairness_weight", needs: fairnessKey)
        try Check.number(ratePerSecond, in: Self.rates, field: "\(path)rate_per_second", needs: rateKey)
        try Check.number(rateBurst, in: Self.counts, field: "\(path)rate_burst", needs: rateKey)
        try Check.number(concurrencyLimit, in: Self.counts, field: "\(path)concurrency_limit", needs: concurrencyKey)
        try Check.number(
            uniqueFor?.milliseconds, in: Self.uniqueMilliseconds, field: "\(path)unique_for_seconds", needs: uniqueKey)
        guard dependsOn.count <= Self.maxDependencies else {
            throw Check.failed(
                "\(path)depends_on", "at most \(Self.maxDependencies) tasks", found: "\(dependsOn.count)")
        }
        for (index, id) in dependsOn.enumerated() { _ = try Name.validate(id, field: "\(path)depends_on[\(index)]") }
        return options
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
        try Check.number(cpu, in: Self.amounts, field: "\(path)cpu", needs: "")
        try Check.number(memoryMB, in: Self.megabytes, field: "\(path)memory_mb", needs: "")
        for (name, amount) in custom.sorted(by: { $0.key < $1.key }) {
            let field = path + (Requirement.isWord(name) ? name : Name.shown(name))
            guard Requirement.isWord(name), name != "cpu", name != "memory_mb" else {
                throw Check.failed(field, "the name of a resource, of A-Z a-z 0-9 . _ : -", found: Name.shown(name))
            }
            try Check.number(amount, in: Self.amounts, field: field, needs: "")
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

    /// Checks that a number, if there is one, is in its range, and that the key that it belongs to is set.
    /// - Parameter key: that key; nil if it is not set. An empty text for a number that needs no key.
    static func number<Number: Comparable>(
        _ value: Number?, in range: ClosedRange<Number>, field: @autoclosure () -> String, needs key: String?
    ) throws(SchedulerError) {
        guard let value else { return }
        guard range.contains(value) else {
            throw failed(field(), "a number from \(range.lowerBound) to \(range.upperBound)", found: "\(value)")
        }
        guard key != nil else {
            throw failed(field(), "the key that it belongs to", found: "none")
        }
    }

    /// Checks a key that a caller chooses, such as a repository's name: 1 to 200 bytes of UTF-8 without control
    /// characters.
    static func key(_ text: String, field: String) throws(SchedulerError) {
        guard (1...200).contains(text.utf8.count) else {
            throw failed(field, "1 to 200 bytes", found: "\(text.utf8.count)")
        }
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
