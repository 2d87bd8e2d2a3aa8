import Foundation

/// `JoinFunctions OUTPUT.swift INPUT.lua…` writes a Swift file that contains the inputs, in the given order, as one raw
/// string. Only the EmbedFunctions plugin calls it.
///
/// Each input but the first becomes a `do … end` block, because Lua allows only 200 local variables in a function, and
/// a library is one function. The local variables of the first input are visible in all others. A comment with the path
/// of the file below `Functions/` precedes each.
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
            "// Generated from Functions/**.lua at build time: edit those files.\n"
            + "enum FunctionLibrarySource {\n    static let text = ###\"\"\"\n" + library + "\n\"\"\"###\n}\n"
        try swift.write(toFile: output, atomically: true, encoding: .utf8)
    }
}

struct JoinError: Error, CustomStringConvertible {
    let description: String
}
