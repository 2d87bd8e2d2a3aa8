import Foundation
import JSON

/// An error response of the server (`application/problem+json`), which becomes one line for people and an exit code.
struct Problem: Decodable, Sendable, Equatable {
    var title: String?
    var detail: String?
    /// The code of a ``SchedulerError``, such as `QueueFull`.
    var code: String?
    var message: String?
    var limit: Double?
    /// Seconds.
    var retryAfter: Double?
    /// False: the request had no effect. Nil: it is not known.
    var applied: Bool?
    /// The fields that the server refused, and why, in its own form.
    var errors: [JSONValue]?

    /// Converts a response that is not a 2xx.
    /// - Parameters:
    ///   - status: the HTTP status.
    ///   - body: the response's body, which need not be a problem document.
    ///   - retryAfter: the response's header.
    static func failure(status: UInt, reason: String, body: Data, retryAfter: String? = nil) -> Failure {
        // A date is not understood; the server and most proxies send seconds.
        let pause = retryAfter.flatMap { UInt16($0) }.map { Duration.seconds($0) }
        guard let problem = try? APIClient.decoder.decode(Problem.self, from: body),
            problem.code ?? problem.title != nil
        else {
            return Failure(
                ExitStatus(httpStatus: status), "the server replied \(status) \(reason)", retryAfter: pause)
        }
        let exit =
            problem.code.map { ExitStatus(code: $0, isAway: status == 503) }.flatMap { $0 == .error ? nil : $0 }
            ?? ExitStatus(httpStatus: status)
        var failure = Failure(exit, problem.line, retryAfter: pause)
        failure.hadNoEffect = problem.applied == false
        return failure
    }

    /// Converts an `error` event of a stream: its HTTP status was already sent as 200.
    static func failure(event data: String) -> Failure {
        guard let problem = try? APIClient.decoder.decode(Problem.self, from: Data(data.utf8)) else {
            return Failure(.error, "the server ended the stream: \(data)")
        }
        return Failure(ExitStatus(code: problem.code ?? "", isAway: false), problem.line)
    }

    private var line: String {
        var line = code ?? title ?? "Error"
        if let text = message ?? detail ?? (code == nil ? nil : title) { line += ": \(text)" }
        var hints: [String] = []
        if let limit { hints.append("limit \(JSONValue(limit).text)") }
        if let retryAfter { hints.append("try again in \(HumanTime.duration(retryAfter))") }
        if let errors { hints += errors.map { ($0["message"] ?? $0["detail"] ?? $0).plainText } }
        return hints.isEmpty ? line : "\(line) (\(hints.joined(separator: "; ")))"
    }
}
