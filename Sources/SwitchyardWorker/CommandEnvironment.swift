import Foundation
import NIOCore
import Switchyard

// The environment of a task's process. In ascending order of precedence: variables of the worker's own environment,
// those that the worker was given for all tasks, the task's own, and SWITCHYARD_*.

extension CommandHandler {
    /// The variables that a process inherits from the worker by default.
    public static let defaultVariables = [
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*",
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
        "SSL_CERT_FILE", "SSL_CERT_DIR",
    ]

    /// The worker's own login to Redis: no process of a task inherits it, whatever ``inheritedVariables`` says.
    public static let secretVariables: Set = [
        "SWITCHYARD_REDIS", "SWITCHYARD_REDIS_PASSWORD", "SWITCHYARD_REDIS_PASSWORD_FILE",
    ]

    /// Linux does not start a process that has a variable of 128 KiB or more.
    private static let maxVariableBytes = 120_000

    /// Returns nil if the results are too long for a variable: the command can then read them from the server by task
    /// id.
    private func dependencyResults(for attempt: Attempt) -> String? {
        guard let results = attempt.dependencyResults, results.readableBytes <= Self.maxVariableBytes else {
            return nil
        }
        return String(buffer: results)
    }

    /// Returns the variables of `own` that a process inherits.
    func inherited(from own: [String: String]) -> [String: String] {
        own.filter { name, _ in
            !Self.secretVariables.contains(name)
                && inheritedVariables.contains { $0.hasSuffix("*") ? name.hasPrefix($0.dropLast()) : name == $0 }
        }
    }

    func environment(
        for attempt: Attempt, _ request: BuildRequest, in directory: AttemptDirectory?
    ) -> [String: String] {
        var environment = inherited(from: ProcessInfo.processInfo.environment)
        environment.merge(variables) { _, given in given }
        if let directory {
            environment["TMPDIR"] = directory.temporary
            environment["SWITCHYARD_WORKDIR"] = directory.work
        }
        environment.merge(request.environment) { _, task in task }
        environment["SWITCHYARD_TASK_ID"] = attempt.id
        environment["SWITCHYARD_ATTEMPT"] = String(attempt.number)
        environment["SWITCHYARD_WORKER_ID"] = attempt.workerID
        environment["SWITCHYARD_QUEUE"] = attempt.queue
        environment["SWITCHYARD_REPO"] = request.repo
        environment["SWITCHYARD_TARGET"] = request.target
        environment["SWITCHYARD_MR"] = request.mr
        environment["TRACEPARENT"] = request.traceparent
        environment["SWITCHYARD_DEPENDENCY_RESULTS"] = dependencyResults(for: attempt)
        return environment
    }
}
