import Foundation

/// `JoinFunctions OUTPUT.swift INPUT.lua…`: writes one Swift file that holds the inputs, in the order
/// given, as one raw string. Called by the EmbedFunctions plugin only.
///
/// Each input is a block of its own, because Lua allows a function, and so a library, only 200 local names. The names of
/// the first input are those that all of them share. A comment with the path of the file below `Functions/` precedes each.
@main
struct JoinFunctions {
    static func main() throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard let output = arguments.first else {
            throw JoinError(description: "usage: JoinFunctions OUTPUT.swift INPUT.lua…")
        }
        var library = "#!lua name=switchyard\n"
        for (index, path) in arguments.dropFirst().enumerated() {
            let text = try String(contentsOfFile: path, encoding: .utf8)
            guard !text.contains("\"\"\"###") else {
                throw JoinError(description: "\(path): contains the end mark of a Swift raw string")
            }
            let name = path.components(separatedBy: "/Functions/").last ?? path
            library += "\n-- ==== \(name) ====\n" + (index == 0 ? text : "do\n\(text)end\n")
        }
        let swift =
            "// Joined from Functions/**.lua at build time: edit those.\n"
            + "enum FunctionLibrarySource {\n    static let text = ###\"\"\"\n" + library + "\n\"\"\"###\n}\n"
        try swift.write(toFile: output, atomically: true, encoding: .utf8)
    }
}

struct JoinError: Error, CustomStringConvertible {
    let description: String
}
