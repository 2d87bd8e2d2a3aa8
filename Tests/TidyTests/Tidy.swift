import Foundation

/// The rules that hold for every source file, after the tidy test of TigerBeetle. Each takes a text and returns what is
/// wrong with it, a sentence for each violation.
enum Tidy {
    static let columns = 120
    static let lines = 400

    /// Words that mean nothing to a reader who comes from outside, and what to write in place of them.
    static let bannedWords: [(word: String, better: String)] = [
        ("courier", "poller"), ("couriers", "pollers"), ("hungry", "waiting"), ("parked", "in overflow"),
        ("farewell", "deregistration"),
        ("wish", "want"), ("wishes", "wants"), ("shortest", "fast path"), ("answers", "returns, replies"),
        ("answered", "returned, replied"), ("todo", "an issue"), ("fixme", "an issue"),
    ]

    /// Lines of more than 120 columns. A line that is one long word (a URL, a key) cannot be broken.
    static func longLines(_ text: String) -> [String] {
        numberedLines(text).compactMap { number, line in
            guard line.count > columns, line.split(separator: " ").count > 2 else { return nil }
            return "line \(number) has \(line.count) columns, expected at most \(columns)"
        }
    }

    static func tooManyLines(_ text: String) -> [String] {
        let count = numberedLines(text).count
        return count > lines ? ["it has \(count) lines, expected at most \(lines)"] : []
    }

    static func banned(_ text: String) -> [String] {
        numberedLines(text).flatMap { number, line in
            let words = Set(line.lowercased().split { !$0.isLetter }.map(String.init))
            return bannedWords.filter { words.contains($0.word) }
                .map { "line \(number) says “\($0.word)”, better: \($0.better)" }
        }
    }

    /// `public` declarations of Swift without a docstring. Members that a standard protocol explains need none.
    static func undocumented(_ text: String) -> [String] {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let declaration =
            #/^\s*(@\w+\s+)*public ((static|final|indirect|mutating) )*(func|struct|class|enum|actor|protocol)\s/#
        let exempt = #/func (encode|hash|==)|struct CodingKeys|enum CodingKeys/#
        return lines.indices.compactMap { index in
            let line = lines[index]
            guard line.firstMatch(of: declaration) != nil, line.firstMatch(of: exempt) == nil else { return nil }
            var above = index - 1
            while above >= 0, lines[above].drop(while: { $0 == " " }).hasPrefix("@") { above -= 1 }
            guard above < 0 || !lines[above].drop(while: { $0 == " " }).hasPrefix("///") else { return nil }
            return "line \(index + 1) is public and has no docstring: \(line.trimmingCharacters(in: .whitespaces))"
        }
    }

    /// Imports of a Swift file.
    static func imports(_ text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            // Cheap, unlike the regular expression.
            guard let first = line.utf8.first, "@pi".utf8.contains(first),
                let match = line.firstMatch(
                    of:
                        #/^(?:@testable |package |public )*import (?:struct |enum |func |class )?(\w+)/#
                )
            else { return nil }
            return String(match.1)
        }
    }

    private static func numberedLines(_ text: String) -> [(number: Int, line: Substring)] {
        text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().map { ($0.offset + 1, $0.element) }
    }
}

/// The modules that each target of `Package.swift` declares, read off its text.
struct Manifest {
    private(set) var modulesOfTarget: [String: Set<String>] = [:]

    /// Modules of a product that have another name than it.
    private static let modulesOfProduct: [String: Set<String>] = [
        "Instrumentation": ["Instrumentation", "ServiceContextModule"],
        "Hummingbird": ["Hummingbird", "HTTPTypes"], "HummingbirdCore": ["HummingbirdCore", "HTTPTypes"],
        "AsyncHTTPClient": ["AsyncHTTPClient"],
    ]

    init(_ text: String) {
        // A target begins with its kind and ends where the next begins.
        let starts = text.ranges(of: #/\.(target|executableTarget|testTarget|systemLibrary|plugin)\(\s*name: /#)
        for (index, start) in starts.enumerated() {
            let end = index + 1 < starts.count ? starts[index + 1].lowerBound : text.endIndex
            let part = text[start.upperBound..<end]
            guard let name = part.firstMatch(of: #/^"(\w+)"/#) else { continue }
            var modules: Set<String> = []
            for product in part.matches(of: #/\.product\(name: "(\w+)"/#) {
                let name = String(product.1)
                modules.formUnion(Self.modulesOfProduct[name] ?? [name])
            }
            if let list = part.firstMatch(of: #/dependencies: \[([^\]]*)/#) {
                for target in list.1.replacing(#/\.product\([^)]*\)/#, with: "").matches(of: #/"(\w+)"/#) {
                    modules.insert(String(target.1))
                }
            }
            modulesOfTarget[String(name.1)] = modules
        }
    }
}
