import Foundation

/// An error as the server answers it (`application/problem+json`), as one line for people and an exit code.
struct Problem: Decodable, Sendable, Equatable {
    var title: String?
    var detail: String?
    /// The seed's name of the error.
    var code: String?
    var message: String?
    var limit: Double?
    /// Seconds.
    var retryAfter: Double?
    /// Fields that were refused, and why; as the server puts it.
    var errors: [JSONValue]?

    /// - Parameters:
    ///   - status: the HTTP status.
    ///   - body: whatever came with it, which need not be a problem.
    static func failure(status: UInt, reason: String, body: Data) -> Failure {
        guard let problem = try? JSONValue.decoder.decode(Problem.self, from: body),
            problem.code ?? problem.title != nil
        else {
            return Failure(ExitStatus(httpStatus: status), "the server answered \(status) \(reason)")
        }
        let exit =
            problem.code.map { ExitStatus(code: $0, isAway: status == 503) }.flatMap { $0 == .error ? nil : $0 }
            ?? ExitStatus(httpStatus: status)
        return Failure(exit, problem.line)
    }

    /// From an `error` event, in a stream whose status was 200 already.
    static func failure(event data: String) -> Failure {
        guard let problem = try? JSONValue.decoder.decode(Problem.self, from: Data(data.utf8)) else {
            return Failure(.error, "the server broke off: \(data)")
        }
        return Failure(ExitStatus(code: problem.code ?? "", isAway: false), problem.line)
    }

    private var line: String {
        var line = code ?? title ?? "Error"
        if let text = message ?? detail ?? (code == nil ? nil : title) { line += ": \(text)" }
        var hints: [String] = []
        if let limit { hints.append("limit \(JSONValue.number(limit).text)") }
        if let retryAfter { hints.append("try again in \(HumanTime.duration(retryAfter))") }
        if let errors { hints += errors.map { ($0["message"] ?? $0["detail"] ?? $0).text } }
        return hints.isEmpty ? line : "\(line) (\(hints.joined(separator: "; ")))"
    }
}
