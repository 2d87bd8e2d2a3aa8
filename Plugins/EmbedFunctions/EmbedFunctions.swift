import Foundation
import PackagePlugin

/// Joins the Lua files of the function library into one Swift string at build time, so that a replica loads into Redis
/// exactly what is in `Functions/`.
@main
struct EmbedFunctions: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
        let functions = target.directoryURL.appending(path: "Functions")
        let sources = try ["core", "fast", "features", "api"].flatMap {
            try luaFiles(in: functions.appending(path: $0))
        }
        let output = context.pluginWorkDirectoryURL.appending(path: "FunctionLibrarySource.swift")
        return [
            .buildCommand(
                displayName: "Joining \(sources.count) Lua files into the function library",
                executable: try context.tool(named: "JoinFunctions").url,
                arguments: [output.path] + sources.map(\.path),
                inputFiles: sources,
                outputFiles: [output])
        ]
    }

    /// Returns the Lua files below a folder, sorted by path. `_library.lua` is the first of its folder, because `_`
    /// sorts before lower-case letters.
    private func luaFiles(in folder: URL) throws -> [URL] {
        let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)?
            .compactMap { $0 as? URL }
        guard let files else { throw FunctionsError(description: "\(folder.path) cannot be read") }
        return files.filter { $0.pathExtension == "lua" }.sorted { $0.path < $1.path }
    }
}

struct FunctionsError: Error, CustomStringConvertible {
    let description: String
}
