import ArgumentParser
import Foundation
import JSON
import SwitchyardWorker

/// How a worker runs the commands of its tasks.
struct CommandOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Time between SIGTERM and SIGKILL when a task is cancelled or exceeds its time limit.",
            valueName: "seconds"))
    var grace = Seconds(value: 5)

    @Option(
        help: ArgumentHelp(
            "How long processes that a command leaves behind may still write to its log.", valueName: "seconds"))
    var linger = Seconds(value: 2)

    @Option(
        name: .customLong("pass-env"), parsing: .upToNextOption,
        help: ArgumentHelp(
            "Further variables of the worker's environment that tasks inherit, such as CI or CI_*.",
            valueName: "name"))
    var passEnv: [String] = []

    @Option(
        name: .customLong("env"),
        help: ArgumentHelp("A variable of every task, which the task's own replaces; repeatable.", valueName: "k=v"))
    var variables: [String] = []

    @Option(
        help: ArgumentHelp(
            "Run each attempt in an empty directory of its own below this one, with its own TMPDIR (default: in the "
                + "worker's directory).", valueName: "path"))
    var workdir: String?

    @Flag(help: "With --workdir, keep the directories of attempts that did not succeed.")
    var keepFailed = false

    func validate() throws {
        for (name, time) in [("--grace", grace), ("--linger", linger)] where !(0...3600 ~= time.value) {
            throw ValidationError("\(name): expected 0 to 3600 s, found \(JSONValue(time.value).text)")
        }
        if let name = passEnv.first(where: { $0.isEmpty || $0.contains("=") || $0.dropLast().contains("*") }) {
            throw ValidationError("--pass-env: expected the name of a variable, or NAME*, found \"\(name)\"")
        }
        if let pair = variables.first(where: { ($0.firstIndex(of: "=") ?? $0.startIndex) == $0.startIndex }) {
            throw ValidationError("--env: expected name=value, found \"\(pair)\"")
        }
        if keepFailed, workdir == nil { throw ValidationError("--keep-failed: expected --workdir, found none") }
    }

    /// Returns the handler, and creates the directory of the attempts.
    /// - Throws: ``Failure`` if the directory cannot be created.
    func handler(template: [String]) throws -> CommandHandler {
        var handler = CommandHandler(template: template, grace: .seconds(grace.value))
        handler.linger = .seconds(linger.value)
        handler.inheritedVariables += passEnv
        for pair in variables {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            handler.variables[String(parts[0])] = String(parts[1])
        }
        handler.keepsFailed = keepFailed
        guard let workdir else { return handler }
        let path = URL(filePath: workdir).standardizedFileURL.path
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw Failure(.usage, "--workdir: cannot create \(path): \(error.localizedDescription)")
        }
        handler.workspace = path
        return handler
    }
}
