import Foundation
import JSON
import Testing

@testable import SwitchyardCLI

/// The flags of `submit` for scheduling options.
@Suite struct SchedulingFlagsTests {
    private func body(_ arguments: [String]) throws -> JSONValue {
        let submit = try #require(try SwitchyardCommand.parseAsRoot(["submit"] + arguments) as? Submit)
        let text = try submit.task.body(
            command: submit.command, queue: "q", id: submit.task.id, rejectIfNoWorkers: false)
        return try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }

    @Test(arguments: [
        (["--depends-on", "a", "--depends-on", "b,c"], "depends_on", #"["a","b","c"]"#),
        (["--depends-on", "a", "--run-anyway"], "run_anyway", "true"),
        (["--requires", "os=linux", "--requires", "arch=arm|x86"], "requires", #"["os=linux","arch=arm|x86"]"#),
        (["--cpu", "0.5", "--memory-mb", "2048"], "resources", #"{"cpu":0.5,"memory_mb":2048}"#),
        (["--resource", "gpu=2", "--resource", "license.x=0.5"], "resources", #"{"gpu":2,"license.x":0.5}"#),
        (["--affinity-key", "repo"], "affinity_key", "repo"),
        (["--group-key", "g"], "group_key", "g"),
        (["--fairness-key", "t", "--fairness-weight", "3"], "fairness_weight", "3"),
        (["--concurrency-key", "c", "--concurrency-limit", "2"], "concurrency_limit", "2"),
        (["--rate-key", "r", "--rate-per-second", "0.5", "--rate-burst", "4"], "rate_per_second", "0.5"),
        (["--rate-key", "r", "--rate-per-second", "0.5", "--rate-burst", "4"], "rate_burst", "4"),
        (["--unique-key", "u", "--unique-for", "5m"], "unique_for_seconds", "300"),
        (["--grace", "0"], "grace_seconds", "0"),
    ])
    func aFlagBecomesItsField(arguments: [String], field: String, expected: String) throws {
        #expect(try body(arguments + ["--", "true"])[field]?.plainText == expected)
    }

    @Test(arguments: [
        ["--run-anyway"], ["--fairness-weight", "2"], ["--concurrency-limit", "2"], ["--rate-key", "r"],
        ["--rate-per-second", "1"], ["--unique-for", "5"], ["--cpu", "0"], ["--cpu", "nan"], ["--memory-mb", "-1"],
        ["--resource", "gpu"], ["--resource", "gpu=two"], ["--resource", "g u=1"], ["--resource", "cpu=1"],
        ["--resource", "gpu=1", "--resource", "gpu=2"], ["--on-complete", "{}"],
    ])
    func whatMakesNoSenseExitsWith64(arguments: [String]) {
        let error = #expect(throws: (any Error).self) {
            try SwitchyardCommand.parseAsRoot(["submit"] + arguments + ["--", "true"])
        }
        #expect(error.map { SwitchyardCommand.exitCode(for: $0).rawValue } == 64)
    }

    @Test func aFileTakesNoFlagsOfOneTask() {
        let error = #expect(throws: (any Error).self) {
            try SwitchyardCommand.parseAsRoot(["submit", "--file", "x", "--requires", "gpu"])
        }
        #expect(error.map { SwitchyardCommand.message(for: $0) }?.contains("--requires") == true)
    }

    @Test func theFollowUpOfABatchStandsBesideItsTasks() throws {
        let file = try BatchFile(Data("{\"repo\":\"a\"}\n".utf8))
        let body = try file.body(batchID: nil, onComplete: #"{"command":["notify"]}"#)
        #expect(body.type == "application/json")
        #expect(String(buffer: body.bytes) == #"{"on_complete":{"command":["notify"]},"tasks":[{"repo":"a"}]}"#)
    }

    @Test func theTargetStandsBeforeTheCommandInTables() throws {
        func what(_ json: String) throws -> String {
            try APIClient.decoder.decode(TaskView.self, from: Data(json.utf8)).what
        }
        let command = #""task_id":"t","state":"pending","command":["make","-j4"]"#
        #expect(try what(#"{\#(command),"repo":"core","target":"//a"}"#) == "core //a")
        #expect(try what(#"{\#(command),"repo":"core"}"#) == "make -j4")
        #expect(try what(#"{"task_id":"t","state":"pending","repo":"core"}"#) == "core")
    }

    @Test func anExplanationIsShortSentences() throws {
        let json = #"""
            {"task_id":"t","state":"pending","reasons":[
            {"code":"position","message":"3 tasks stand before it in its line","ahead":3},
            {"code":"workers_busy","message":"2 of 2 workers that serve it have all slots taken"}]}
            """#
        let view = try APIClient.decoder.decode(ExplanationView.self, from: Data(json.utf8))
        #expect(
            view.text(colour: false) == """
                t  pending
                  position      3 tasks stand before it in its line.
                  workers_busy  2 of 2 workers that serve it have all slots taken.

                """)
        let none = ExplanationView(taskId: "t", state: "running", reasons: [])
        #expect(none.text(colour: false) == "t  running: nothing holds it\n")
    }
}
