import ArgumentParser
import Foundation
import JSON
import Switchyard

/// The flags that describe one task, and the JSON that submits it. The JSON has only what was given: the server's
/// defaults apply to the rest.
struct TaskOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "What sort of work it is, by which a worker finds its handler; `list --kind` shows its tasks.",
            valueName: "name"))
    var kind: String?

    @Option(help: "The repository to build.")
    var repo: String?

    @Option(help: "The target to build.")
    var target: String?

    @Option(name: .customLong("arg"), parsing: .unconditionalSingleValue, help: "An argument of the build; repeatable.")
    var args: [String] = []

    @Option(help: "The merge request or change list.")
    var mr: String?

    @Option(name: .customLong("label"), help: "A label; the automatic priority depends on the labels. Repeatable.")
    var labels: [String] = []

    @Option(help: ArgumentHelp("The task's id; a second task of this id is refused.", valueName: "id"))
    var id: String?

    @Option(help: "How urgent it is; by default the server derives it from the request.")
    var priority: TaskPriority?

    @Option(
        help: ArgumentHelp("The time limit of one attempt.", valueName: "duration"),
        transform: Seconds.init(transforming:))
    var timeout: Seconds?

    @Option(help: ArgumentHelp("How many retries it has after its first attempt.", valueName: "n"))
    var maxRetries: Int?

    @Option(
        help: ArgumentHelp("Do not run it before this long from now.", valueName: "duration"),
        transform: Seconds.init(transforming:))
    var delay: Seconds?

    @Option(help: ArgumentHelp("Do not run it before this time (RFC 3339: 2030-01-31T08:00:00Z).", valueName: "time"))
    var runAt: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("Any JSON for the worker; @FILE reads a file, @- standard input.", valueName: "json|@file"))
    var payload: String?

    @Option(
        name: .customLong("env"), parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A variable of the command's environment; repeatable.", valueName: "name=value"))
    var environment: [String] = []

    @Option(help: ArgumentHelp("The command's working directory.", valueName: "path"))
    var cwd: String?

    @OptionGroup(title: "Scheduling Options") var scheduling: SchedulingFlags

    /// The names of the flags that the user gave, for commands that refuse them.
    var given: [String] {
        let flags: [(String, Bool)] = [
            ("--kind", kind != nil), ("--repo", repo != nil), ("--target", target != nil), ("--arg", !args.isEmpty),
            ("--mr", mr != nil),
            ("--label", !labels.isEmpty), ("--id", id != nil), ("--priority", priority != nil),
            ("--timeout", timeout != nil), ("--max-retries", maxRetries != nil), ("--delay", delay != nil),
            ("--run-at", runAt != nil), ("--payload", payload != nil), ("--env", !environment.isEmpty),
            ("--cwd", cwd != nil),
        ]
        return flags.filter(\.1).map(\.0) + scheduling.given
    }

    /// Returns the JSON object that submits the task.
    /// - Parameters:
    ///   - queue: nil for the task of a schedule, which has neither queue nor id.
    ///   - id: the task's id. The command makes it, so that it knows it even without a response.
    /// - Throws: ``Failure`` if `--payload` is not JSON, `--env` is not NAME=VALUE, or a file cannot be read.
    func body(
        command: [String], queue: String?, id: String?, rejectIfNoWorkers: Bool, replicasToWait: Int? = nil
    ) throws -> String {
        var body: JSONValue = [:]
        func add(_ name: String, _ text: String?) { body.add(name, text.map { .string($0) }) }
        func add(_ name: String, _ texts: [String]) { body.add(name, texts.isEmpty ? nil : JSONValue(texts)) }
        add("id", id)
        add("queue", queue)
        add("priority", priority?.rawValue)
        add("kind", kind)
        add("repo", repo)
        add("target", target)
        add("args", args)
        add("mr", mr)
        add("labels", labels)
        add("command", command)
        body.add("env", environment.isEmpty ? nil : JSONValue(sorted: try variables()))
        add("cwd", cwd)
        body.add("payload", try payload.map { .raw(try JSONArgument.text($0, flag: "--payload")) })
        body.add("timeout_seconds", timeout?.json)
        body.add("max_retries", maxRetries.map { JSONValue($0) })
        body.add("delay_seconds", delay?.json)
        add("run_at", runAt)
        scheduling.add(to: &body)
        add("if_no_workers", rejectIfNoWorkers ? "reject" : nil)
        body.add("replicas_to_wait", replicasToWait.map { JSONValue($0) })
        return body.text
    }

    private func variables() throws(Failure) -> [String: String] {
        var variables: [String: String] = [:]
        for pair in environment {
            guard let (name, value) = EnvironmentPair.split(pair) else {
                throw Failure(.usage, "--env: expected NAME=VALUE, found \(Name.shown(pair))")
            }
            variables[name] = value
        }
        return variables
    }
}

/// A variable as an argument: `NAME=VALUE`. It is split at the first `=` as a scalar: a combining mark behind it would
/// make another character of it, but the program that runs sees bytes.
enum EnvironmentPair {
    static func split(_ pair: String) -> (name: String, value: String)? {
        let scalars = pair.unicodeScalars
        guard let equals = scalars.firstIndex(of: "="), equals != scalars.startIndex else { return nil }
        return (String(scalars[..<equals]), String(scalars[scalars.index(after: equals)...]))
    }
}

/// JSON as an argument: the text itself, or `@FILE` (`@-` for standard input).
enum JSONArgument {
    static func text(_ argument: String, flag: String) throws(Failure) -> String {
        var text = argument
        if argument.hasPrefix("@") {
            let path = String(argument.dropFirst())
            guard let read = String(validating: try InputFile.read(path), as: UTF8.self) else {
                throw Failure(.usage, "\(flag): expected UTF-8 in \(path), found other bytes")
            }
            text = read
        }
        text = text.trimmingCharacters(in: .whitespacesAndNewlines)
        guard JSONReader.isValid(text) else {
            throw Failure(.usage, "\(flag): expected JSON, found \(Name.shown(text)); text needs quotes: '\"text\"'")
        }
        return text
    }
}

/// A file that the user names, or standard input as `-`.
enum InputFile {
    static func read(_ path: String) throws(Failure) -> Data {
        do {
            if path == "-" { return try FileHandle.standardInput.readToEnd() ?? Data() }
            return try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            throw Failure(.usage, "\(path): cannot be read: \(error.localizedDescription)")
        }
    }
}
