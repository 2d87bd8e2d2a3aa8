import Foundation
import RedisClient
import Switchyard
import Testing

@testable import SwitchyardCLI

@Suite struct ExitStatusTests {
    @Test(arguments: [
        ("QueueFull", 429, 6), ("QueueDraining", 409, 6), ("TaskNotFound", 404, 5), ("TaskExists", 409, 8),
        ("NoWorkers", 503, 7),
        ("WorkerNotFound", 404, 5), ("InvalidStateTransition", 409, 8), ("Internal", 500, 1), ("Internal", 503, 69),
        ("BadRequest", 400, 64), ("BadRequest", 413, 64), ("MethodNotAllowed", 405, 64), ("NotFound", 404, 5),
    ])
    func aProblemsCodeIsTheExitCode(code: String, status: UInt, expected: Int32) {
        let body =
            #"{"type":"about:blank","title":"T","status":\#(status),"code":"\#(code)","message":"what happened"}"#
        let failure = Problem.failure(status: status, reason: "Reason", body: Data(body.utf8))
        #expect(failure.status.rawValue == expected)
        #expect(failure.message == "\(code): what happened")
    }

    @Test(arguments: [(404, 5), (409, 8), (413, 64), (429, 6), (500, 1), (502, 69), (503, 69)] as [(UInt, Int32)])
    func anAnswerThatIsNoProblemExitsByItsStatus(status: UInt, expected: Int32) {
        let failure = Problem.failure(status: status, reason: "Reason", body: Data("<html>".utf8))
        #expect(failure.status.rawValue == expected)
        #expect(failure.message == "the server replied \(status) Reason")
    }

    @Test func whatIsNeededToActIsPartOfTheLine() {
        let body = #"{"code":"QueueFull","message":"queue default is full","limit":500,"retry_after":2}"#
        let failure = Problem.failure(status: 429, reason: "", body: Data(body.utf8))
        #expect(failure.message == "QueueFull: queue default is full (limit 500; try again in 2s)")
    }

    @Test(
        arguments: [
            (SchedulerError.queueFull(message: ""), 6), (.taskNotFound(message: ""), 5), (.taskExists(message: ""), 8),
            (.noWorkers(message: ""), 7), (.workerNotFound(message: ""), 5),
            (.invalidStateTransition(message: "", leaseLost: false), 8),
            (.invalidInput(field: nil, message: ""), 64), (.internal(message: "", redisAway: false), 1),
            (.internal(message: "", redisAway: true), 69),
        ] as [(SchedulerError, Int32)])
    func aSchedulerErrorHasTheSameExitCode(error: SchedulerError, expected: Int32) {
        #expect(Failure(error).status.rawValue == expected)
    }

    @Test func anUnusableRedisURLIsBadUsageAndAnUnreachableRedisIsNot() {
        let url = RedisError(kind: .invalidConfiguration, message: "")
        let away = RedisError(kind: .connectionFailed, message: "")
        #expect(Failure(url as any Error)?.status == .usage)
        #expect(Failure(away as any Error)?.status == .unavailable)
    }

    @Test func theWorstOfSeveralDecides() {
        #expect(ExitStatus.worst([]) == .ok)
        #expect(ExitStatus.worst([.ok, .ok]) == .ok)
        #expect(ExitStatus.worst([.ok, .taskCancelled]) == .taskCancelled)
        #expect(ExitStatus.worst([.taskCancelled, .taskTimedOut, .ok]) == .taskTimedOut)
        #expect(ExitStatus.worst([.taskTimedOut, .taskFailed, .taskCancelled]) == .taskFailed)
    }

    @Test func eachEndOfATaskHasItsOwnExitCode() {
        let ends: [(TaskState, Int32)] = [(.completed, 0), (.failed, 2), (.timeout, 3), (.cancelled, 4)]
        for (state, code) in ends { #expect(ExitStatus(ended: state).rawValue == code) }
    }
}
