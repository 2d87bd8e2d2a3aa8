import ArgumentParser
import Foundation
import JSON
import Testing

@testable import SwitchyardCLI

@Suite struct ParsingTests {
    private func parse<Command>(_ type: Command.Type, _ arguments: [String]) throws -> Command {
        try #require(try SwitchyardCommand.parseAsRoot(arguments) as? Command)
    }

    private func body(_ arguments: [String]) throws -> JSONValue {
        let submit = try parse(Submit.self, ["submit"] + arguments)
        let text = try submit.task.body(
            command: submit.command, queue: "q", id: submit.task.id, rejectIfNoWorkers: submit.ifNoWorkers == .reject,
            replicasToWait: submit.replicasToWait)
        return try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }

    @Test(arguments: [
        (["--", "echo", "-n", "--wait"], "command", #"["echo","-n","--wait"]"#),
        (["--repo", "core", "--target", "//a", "--arg", "-j4", "--arg", "--fast"], "args", #"["-j4","--fast"]"#),
        (["--repo", "r", "--label", "hotfix", "--label", "x"], "labels", #"["hotfix","x"]"#),
        (["--repo", "r", "--mr", "42"], "mr", #"42"#),
        (["--repo", "r", "--priority", "high"], "priority", #"high"#),
        (["--repo", "r", "--id", "a:b"], "id", #"a:b"#),
        (["--repo", "r", "--timeout", "90"], "timeout_seconds", "90"),
        (["--repo", "r", "--timeout", "1.5m"], "timeout_seconds", "90"),
        (["--repo", "r", "--delay", "250ms"], "delay_seconds", "0.25"),
        (["--repo", "r", "--max-retries", "0"], "max_retries", "0"),
        (["--repo", "r", "--run-at", "2030-01-31T08:00:00Z"], "run_at", "2030-01-31T08:00:00Z"),
        (["--repo", "r", "--if-no-workers", "reject"], "if_no_workers", "reject"),
        (["--repo", "r", "--replicas-to-wait", "2"], "replicas_to_wait", "2"),
        (["--env", "A=1", "--env", "B=x=y", "--", "env"], "env", #"{"A":"1","B":"x=y"}"#),
        (["--cwd", "/tmp", "--", "pwd"], "cwd", "/tmp"),
        (["--payload", #"{"n":1}"#], "payload", #"{"n":1}"#),
        (["--payload", "-1"], "payload", "-1"),
        (["--repo", "r"], "queue", "q"),
    ])
    func aFlagOfSubmitBecomesItsField(arguments: [String], field: String, expected: String) throws {
        #expect(try body(arguments)[field]?.plainText == expected)
    }

    @Test func whatIsNotGivenIsNotSent() throws {
        guard case .object(let members) = try body(["--id", "a", "--", "true"]) else {
            Issue.record("the body is no object")
            return
        }
        #expect(members.map(\.name).sorted() == ["command", "id", "queue"])
    }

    @Test func aPayloadReachesTheServerByteForByte() throws {
        let payload = #"{"big":12345678901234567890,"f":1.0,  "u":"\u00e9"}"#
        let submit = try parse(Submit.self, ["submit", "--payload", payload])
        #expect(try submit.task.body(command: [], queue: "q", id: nil, rejectIfNoWorkers: false).contains(payload))
    }

    @Test(arguments: [
        ["submit"], ["submit", "--file", "x", "--repo", "r"], ["submit", "--file", "x", "--", "true"],
        ["submit", "--batch-id", "b", "--", "true"], ["submit", "--delay", "1", "--run-at", "t", "--", "true"],
        ["submit", "--timeout", "soon", "--", "true"], ["submit", "--priority", "urgent", "--", "true"],
        ["submit", "--file", "x", "--if-no-workers", "reject"], ["get"], ["wait"], ["cancel"],
        ["cancel", "a", "--batch", "b"], ["list", "--limit", "0"], ["list", "--state", "done"], ["list", "-o", "xml"],
        ["dev", "--workers", "-1"], ["dev", "--ephemeral", "--redis", "redis://h"],
        ["worker", "--no-op", "--", "true"],
        ["worker", "--label", "a,b"], ["worker", "--cpu", "0"], ["bench", "--tasks", "1"],
        ["bench", "--depth", "1000", "--depth", "100"], ["explain"], ["nonsense"],
    ])
    func badUsageExitsWith64(arguments: [String]) {
        let error = #expect(throws: (any Error).self) { try SwitchyardCommand.parseAsRoot(arguments) }
        #expect(error.map { SwitchyardCommand.exitCode(for: $0).rawValue } == 64)
    }

    @Test(arguments: [["--payload", "{oops"], ["--payload", "@/nonexistent/file"], ["--env", "NOVALUE", "--", "x"]])
    func inputThatCannotBeUsedExitsWith64(arguments: [String]) {
        let failure = #expect(throws: Failure.self) { try body(arguments) }
        #expect(failure?.status == .usage)
    }

    @Test func workersListsUnlessToldOtherwise() throws {
        _ = try parse(ListWorkers.self, ["workers"])
        _ = try parse(ListWorkers.self, ["workers", "-o", "json"])
        #expect(try parse(DrainWorker.self, ["workers", "drain", "w1"]).order.id == "w1")
        _ = try parse(PauseQueue.self, ["queue", "pause", "--queue", "q"])
    }

    @Test func aWorkerTakesATemplateAfterTheDashes() throws {
        let worker = try parse(
            RunWorker.self,
            ["worker", "--id", "w", "--slots", "4", "--label", "os=linux", "--label", "gpu", "--", "make", "{target}"])
        #expect(worker.command == ["make", "{target}"])
        #expect(worker.labels == ["os=linux", "gpu"])
        #expect(worker.slots == 4)
        #expect(!worker.isNoOp)
    }

    @Test func aNoOpWorkerTakesNoTemplate() throws {
        #expect(try parse(RunWorker.self, ["worker", "--no-op", "--slots", "200"]).isNoOp)
        let error = #expect(throws: (any Error).self) {
            try SwitchyardCommand.parseAsRoot(["worker", "--no-op", "--", "make"])
        }
        let message = error.map { SwitchyardCommand.message(for: $0) } ?? ""
        #expect(message.contains("--no-op runs nothing"), "\(message)")
    }

    @Test(arguments: [
        ("90", 90.0), ("1.5", 1.5), ("500ms", 0.5), ("2s", 2), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("0", 0),
    ])
    func secondsTakeUnits(text: String, expected: Double) {
        #expect(Seconds(argument: text)?.value == expected)
    }

    @Test(arguments: [
        ("0", Duration.zero), ("1.002", .milliseconds(1002)), ("500ms", .milliseconds(500)),
        ("36500d", .seconds(3_153_600_000)), ("1.0015", nil), ("9223372036854775.807", nil),
        ("99999999999999999999d", nil),
    ])
    func aDurationHasMillisecondsAndAnEnd(text: String, expected: Duration?) {
        #expect(Seconds(argument: text)?.duration == expected)
    }

    @Test(arguments: [["bench", "--idle"], ["autoscale", "--max", "1", "--interval"], ["top", "--interval"]])
    func durationsThatNoClockHoldsAreRefused(arguments: [String]) {
        #expect(throws: (any Error).self) {
            try SwitchyardCommand.parseAsRoot(arguments + ["99999999999999999999"])
        }
    }

    @Test(arguments: [
        "", "s", "-1", "1e3", "nan", "inf", "0x10", "1 s", "1.2.3", "5w", String(repeating: "9", count: 400),
    ])
    func whatIsNoDurationIsRefused(text: String) {
        #expect(Seconds(argument: text) == nil)
    }

    @Test func aQueueSettingIsANameAndANumber() throws {
        #expect(
            try SetQueue.body(["max_queue_length=5", "lease_seconds=1m"])
                == #"{"max_queue_length":5,"lease_seconds":60}"#)
        #expect(try SetQueue.body([]) == "{}")
        for bad in ["max_queue_length", "=5", "a=b", "a="] {
            #expect(throws: Failure.self) { try SetQueue.body([bad]) }
        }
    }

    @Test func aBatchFileIsSentAsItIsUnlessTheBatchHasAName() throws {
        let file = try BatchFile(Data("{\"repo\":\"a\"}\n\n  {\"repo\":\"b\"}\r\n".utf8))
        #expect(try file.body(batchID: nil).type == "application/x-ndjson")
        let named = try file.body(batchID: "b1")
        #expect(named.type == "application/json")
        #expect(String(buffer: named.bytes) == #"{"batch_id":"b1","tasks":[{"repo":"a"},{"repo":"b"}]}"#)
        #expect(throws: Failure.self) { try BatchFile(Data("\n \n".utf8)) }
        #expect(throws: Failure.self) { try BatchFile(Data("[1\n2]\n".utf8)).body(batchID: "b1") }
    }

    @Test func aWorkersDefaultIdIsAValidName() {
        #expect(RunWorker.defaultID(host: "my host.ü", processID: 7) == "my-host.--7")
        #expect(RunWorker.defaultID(host: "", processID: 7) == "worker-7")
    }
}
