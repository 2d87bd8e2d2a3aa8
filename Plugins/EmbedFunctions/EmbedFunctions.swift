import Foundation
import PackagePlugin

/// Joins the Lua files of the function library into one Swift string at build time, so that what a
/// replica loads into Redis is exactly what stands in `Functions/`.
@main
struct EmbedFunctions: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
        let functions = target.directoryURL.appending(path: "Functions")
        let sources = try ["lib", "api"].flatMap { folder in
            try FileManager.default
                .contentsOfDirectory(
                    at: functions.appending(path: folder), includingPropertiesForKeys: nil
                )
                .filter { $0.pathExtension == "lua" }
                .sorted { $0.lastPathComponent < $1.lastPathComponent }
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
}
