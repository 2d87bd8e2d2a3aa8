import Foundation
import Testing

/// The header of each function names the arguments that its code reads.
@Suite("Headers of the functions")
struct HeaderTests {
    private struct Function: CustomTestStringConvertible {
        let name: String
        let header: String
        let code: String
        var testDescription: String { name }

        /// The text of one paragraph of the header, from its title to the next title.
        func paragraph(_ title: String) -> String {
            let lines = header.split(separator: "\n").map { line in line.drop(while: { $0 == "-" }) }
            guard let start = lines.firstIndex(where: { $0.hasPrefix(" \(title)") }) else { return "" }
            let rest = lines[(start + 1)...].prefix { $0.hasPrefix("        ") }
            return ([lines[start].dropFirst(title.count + 1)] + rest).map(String.init).joined(separator: " ")
        }
    }

    private static let folder = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources/Switchyard/Functions")

    private static let functions: [Function] = {
        let files = FileManager.default.enumerator(at: folder.appending(path: "api"), includingPropertiesForKeys: nil)
        let lua = (files?.compactMap { $0 as? URL } ?? []).filter { $0.pathExtension == "lua" }
        return lua.sorted { $0.path < $1.path }.compactMap { url in
            guard let text = try? String(contentsOf: url, encoding: .utf8) else { return nil }
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            let header = lines.prefix { $0.hasPrefix("--") }
            return Function(
                name: url.deletingPathExtension().lastPathComponent, header: header.joined(separator: "\n"),
                code: lines.dropFirst(header.count).joined(separator: "\n"))
        }
    }()

    private static func words(_ text: some StringProtocol) -> Set<String> {
        Set(String(text).split(whereSeparator: { !($0.isLetter || $0.isNumber || $0 == "_") }).map(String.init))
    }

    /// The names of the call's arguments that the code reads.
    private static func namesRead(_ code: String) -> Set<String> {
        Set(code.matches(of: /\b(?:head|given)\.([a-z_]+)/).map { String($0.1) })
    }

    /// Fields of `head` that the code itself sets.
    private static let derived: Set = ["is_repeated"]

    @Test func everyFunctionHasAHeaderOfTheFixedForm() {
        #expect(Self.functions.count >= 30)
        for function in Self.functions {
            #expect(function.header.hasPrefix("-- switchyard_\(function.name): "), "\(function.name)")
            #expect(function.code.contains("function_name = 'switchyard_\(function.name)'"), "\(function.name)")
            for title in ["Keys", "Arguments", "Reply", "Errors"] {
                #expect(!function.paragraph(title).isEmpty, "\(function.name) says nothing of \(title)")
            }
        }
    }

    @Test func everyArgumentThatTheCodeReadsStandsInTheHeader() {
        for function in Self.functions {
            let said = Self.words(function.paragraph("Arguments"))
            // Arguments that a helper reads are in the helper's own header: pull and finish share the arguments of a
            // pull.
            let read = Self.namesRead(function.code).subtracting(Self.derived)
            let missing = read.subtracting(said)
            #expect(missing == (function.name == "finish" ? ["max"] : []), "\(function.name)")
        }
    }

    @Test func everyArgumentOfTheHeaderIsRead() throws {
        let everything = try ["core", "features"].map { folder in
            try FileManager.default.contentsOfDirectory(
                at: Self.folder.appending(path: folder), includingPropertiesForKeys: nil
            ).map { try String(contentsOf: $0, encoding: .utf8) }.joined()
        }.joined()
        let shared = Self.words(everything)
        for function in Self.functions {
            let code = Self.words(function.code)
            // An argument is a name before an opening bracket.
            for match in function.paragraph("Arguments").matches(of: /\b([a-z_]+) \(/) {
                let name = String(match.1)
                if ["call", "code"].contains(name) { continue }
                #expect(code.contains(name) || shared.contains(name), "\(function.name): \(name)")
            }
        }
    }

    @Test func aStateIsWrittenInOneFileAndItsFastPaths() throws {
        var writers: Set<String> = []
        let files = FileManager.default.enumerator(at: Self.folder, includingPropertiesForKeys: nil)
        for case let url as URL in files ?? .init() where url.pathExtension == "lua" {
            let text = try String(contentsOf: url, encoding: .utf8)
            if text.contains(/'HSET'[^\n]*'state'|'state', '(?:pending|running|completed)'/) {
                writers.insert(url.lastPathComponent)
            }
        }
        // retention.lua writes the tombstone of a purged task, which is no longer a task.
        #expect(writers == ["transition.lua", "retention.lua", "finish_one.lua", "submit_one.lua"])
    }
}
