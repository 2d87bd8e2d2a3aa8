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

    @Option(
        help: ArgumentHelp(
            "Run this shell command before each task, in its directory and with its environment; if it fails, the task "
                + "goes back to the queue for another worker.", valueName: "command"))
    var before: String?

    @Option(
        help: ArgumentHelp(
            "Run this shell command after each task, whatever happened; SWITCHYARD_EXIT is the task's exit code.",
            valueName: "command"))
    var after: String?

    @Option(
        help: ArgumentHelp(
            "Also write the whole output of each attempt to a file in this directory.", valueName: "path"))
    var logDir: String?

    @Flag(help: "With --workdir, keep the directories of attempts that did not succeed.")
    var keepFailed = false

    func validate() throws {
        for (name, time) in [("--grace", grace), ("--linger", linger)] where !(0...3600 ~= time.value) {
            throw ValidationError("\(name): expected 0 to 3600 s, found \(JSONValue(time.value).text)")
        }
        if let name = passEnv.first(where: {
            $0.isEmpty || $0.utf8.contains(UInt8(ascii: "=")) || $0.dropLast().contains("*")
        }) {
            throw ValidationError("--pass-env: expected the name of a variable, or NAME*, found \"\(name)\"")
        }
        if let name = passEnv.first(where: CommandHandler.secretVariables.contains) {
            throw ValidationError("--pass-env: \(name) is the worker's login to Redis, which tasks do not get")
        }
        if let pair = variables.first(where: { EnvironmentPair.split($0) == nil }) {
            throw ValidationError("--env: expected name=value, found \"\(pair)\"")
        }
        for (name, command) in [("--before", before), ("--after", after)] where command?.isEmpty == true {
            throw ValidationError("\(name): expected a command for the shell, found none")
        }
        if keepFailed, workdir == nil { throw ValidationError("--keep-failed: expected --workdir, found none") }
    }

    /// Returns the handler, and creates the directories that it needs.
    /// - Throws: ``Failure`` if one cannot be created.
    func handler(template: [String]) throws -> CommandHandler {
        var handler = CommandHandler(template: template, grace: .seconds(grace.value))
        handler.linger = .seconds(linger.value)
        handler.inheritedVariables += passEnv
        for case (let name, let value)? in variables.map(EnvironmentPair.split) { handler.variables[name] = value }
        handler.keepsFailed = keepFailed
        handler.before = before
        handler.after = after
        handler.workspace = try workdir.map { try Self.directory($0, flag: "--workdir") }
        handler.logDirectory = try logDir.map { try Self.directory($0, flag: "--log-dir") }
        return handler
    }

    private static func directory(_ given: String, flag: String) throws(Failure) -> String {
        let path = URL(filePath: given).standardizedFileURL.path
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw Failure(.usage, "\(flag): cannot create \(path): \(error.localizedDescription)")
        }
        return path
    }
}
