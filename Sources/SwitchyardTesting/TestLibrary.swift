import Foundation
import Switchyard

/// The text of the function library that tests load in place of the built one, so that a changed library is tested
/// without a build. The environment selects it:
///
/// - `SWITCHYARD_TEST_LIBRARY`: The file with the text; without it, the text is that of the build.
/// - `SWITCHYARD_TEST_MUTATION`: A mutation to apply to the text, by its name in `Tests/Mutations/*.json`, or as a JSON
///   object with `file`, `find` and `replace`.
package enum TestLibrary {
    /// Whether the text is that of the build.
    package static var isBuilt: Bool {
        let environment = ProcessInfo.processInfo.environment
        return environment["SWITCHYARD_TEST_LIBRARY"] == nil && environment["SWITCHYARD_TEST_MUTATION"] == nil
    }

    /// Returns the text; nil if the environment selects none.
    package static func text() throws -> String? {
        if isBuilt { return nil }
        let environment = ProcessInfo.processInfo.environment
        var text = FunctionLibrary.source
        if let path = environment["SWITCHYARD_TEST_LIBRARY"] {
            text = try String(contentsOfFile: path, encoding: .utf8)
        }
        if let mutation = environment["SWITCHYARD_TEST_MUTATION"] {
            text = try LibraryMutation(mutation).applied(to: text)
        }
        return text
    }
}

/// A fault that is put into the function library, to check that a test finds it.
package struct LibraryMutation: Decodable, Sendable {
    /// Nil for a mutation that the environment gives as a JSON object.
    package let name: String?
    /// The file's path below `Functions/`.
    let file: String
    /// The text that is replaced. It must occur once in the file.
    let find: String
    let replace: String

    struct DoesNotApply: Error, CustomStringConvertible {
        let description: String
    }

    /// - Parameters:
    ///   - file: the file's path below `Functions/`.
    ///   - find: the text that is replaced, which occurs once in the file.
    package init(name: String, file: String, find: String, replace: String) {
        self.name = name
        self.file = file
        self.find = find
        self.replace = replace
    }

    /// - Parameter text: A name, or a JSON object.
    init(_ text: String) throws {
        if text.hasPrefix("{") {
            self = try JSONDecoder().decode(LibraryMutation.self, from: Data(text.utf8))
            return
        }
        let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Tests/Mutations")
            .standardized
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        for file in files where file.pathExtension == "json" {
            let mutations = try JSONDecoder().decode([LibraryMutation].self, from: Data(contentsOf: file))
            if let mutation = mutations.first(where: { $0.name == text }) {
                self = mutation
                return
            }
        }
        throw DoesNotApply(description: "mutation \(text): there is none of this name in \(folder.path)")
    }

    /// Returns the library's text with the mutation applied. In `library`, a comment with the path of each file
    /// precedes its text.
    package func applied(to library: String) throws -> String {
        guard let header = library.range(of: "\n-- ==== \(file) ====\n", options: .literal) else {
            throw DoesNotApply(description: "mutation \(name ?? ""): the library has no file \(file)")
        }
        let rest = header.upperBound..<library.endIndex
        let end = library.range(of: "\n-- ==== ", options: .literal, range: rest)?.lowerBound ?? library.endIndex
        let parts = library[header.upperBound..<end].components(separatedBy: find)
        guard parts.count == 2 else {
            throw DoesNotApply(
                description: "mutation \(name ?? ""): expected once in \(file), found \(parts.count - 1) times: \(find)"
            )
        }
        return library[..<header.upperBound] + parts.joined(separator: replace) + library[end...]
    }
}
