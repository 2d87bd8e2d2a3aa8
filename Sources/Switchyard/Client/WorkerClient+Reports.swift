import NIOCore
import RedisClient

extension WorkerClient {
    /// The report of how an attempt ended.
    package struct Report: Sendable, Equatable {
        /// How an attempt ended, as its worker reports it.
        package enum Outcome: String, Sendable {
            case completed, failed, timeout
            /// The attempt was told to end, and its process is gone.
            case ended
        }
        /// The task's id.
        package var taskID: String
        /// The attempt's number.
        package var attempt: Int
        /// How the attempt ended.
        package var outcome: Outcome
        /// Opaque bytes.
        package var result: ByteBuffer?
        /// Why the attempt ended without success.
        package var failure: TaskFailure?
        /// The exit code of the command.
        package var exitCode: Int?
        /// False: the task is not retried, even if retries are left.
        package var isRetryable = true
        /// The backoff before the retry, at most 30 days; nil: the queue's backoff.
        package var retryAfter: Duration?

        /// A report without a result.
        package init(taskID: String, attempt: Int, outcome: Outcome) {
            self.taskID = taskID
            self.attempt = attempt
            self.outcome = outcome
        }
    }
}

// The functions refuse a call as a whole if one of its reports is invalid. So a report is checked before it is sent.
extension WorkerClient.Report {
    /// Limit on the bytes of a report's result and texts together.
    package static let maxBytes = 1 << 20
    /// The exit codes that a report may have.
    package static let exitCodes = -99_999...99_999
    /// Limit on the bytes of an error message that is cut because the report is too long.
    private static let maxCutMessageBytes = 4096

    /// Returns the report if the queue accepts it. Otherwise returns a failure that says what the queue does not
    /// accept.
    package func checked() -> WorkerClient.Report {
        let bytes =
            (result?.readableBytes ?? 0) + (failure.map { $0.code.utf8.count + $0.message.utf8.count } ?? 0)
        if bytes > Self.maxBytes {
            return refused(
                code: "ResultTooLong",
                "the attempt ended as \(outcome.rawValue), but its result and error text have \(bytes) bytes, and at "
                    + "most \(Self.maxBytes) are kept with a task")
        }
        if let exitCode, !Self.exitCodes.contains(exitCode) {
            return refused(
                code: "InvalidExitCode",
                "the attempt ended as \(outcome.rawValue) with exit code \(exitCode), but a task has one from "
                    + "\(Self.exitCodes.lowerBound) to \(Self.exitCodes.upperBound)")
        }
        return self
    }

    /// A report that replaces this one: the attempt failed, because the queue does not accept this report. The first
    /// part of the original failure's message is kept.
    package func refused(code: String, _ reason: String) -> WorkerClient.Report {
        var report = WorkerClient.Report(taskID: taskID, attempt: attempt, outcome: .failed)
        var message = reason
        if let failure {
            let text = "\(failure.code): \(failure.message)".utf8.prefix(Self.maxCutMessageBytes)
            message += "; its failure was \(String(decoding: text, as: UTF8.self))"
        }
        report.failure = TaskFailure(code: code, message: message)
        report.isRetryable = isRetryable
        report.retryAfter = retryAfter
        return report
    }

    func write(to arguments: inout [RedisArgument]) {
        arguments.add("task", .string(taskID))
        arguments.add("attempt", .integer(Int64(attempt)))
        arguments.add("outcome", .string(outcome.rawValue))
        if let result { arguments.add("result", .buffer(result)) }
        if let exitCode { arguments.add("exit_code", .integer(Int64(exitCode))) }
        if let failure {
            arguments.add("error_code", .string(failure.code))
            arguments.add("error_message", .string(failure.message))
        }
        if !isRetryable { arguments.add("retryable", "0") }
        if let retryAfter {
            // The function refuses what is out of range, and with it the other reports of the call.
            let bounded = min(max(retryAfter, .zero), .seconds(2_592_000))
            arguments.add("retry_after_ms", .integer(Int64(bounded.milliseconds)))
        }
    }
}
