import Foundation
import JSON
import Testing

@testable import SwitchyardCLI

@Suite(.serialized) struct TopTests {
    private func view() throws -> TopView {
        func decode<Value: Decodable>(_ type: Value.Type, _ json: String) throws -> Value {
            try APIClient.decoder.decode(type, from: Data(json.utf8))
        }
        let workers =
            #"{"workers":[{"worker_id":"w1","slots":2,"busy_slots":0},{"worker_id":"w2","slots":2,"busy_slots":1}]}"#
        return TopView(
            queue: "q",
            stats: try decode(
                StatsView.self,
                #"""
                {"pending_tasks":3,"running_tasks":1,"failed_tasks":1,"desired_workers":2,"unroutable_tasks":1,
                "by_priority":{"high":2,"normal":1,"low":0},"queues":{"q":{"paused":true}}}
                """#),
            workers: try decode(WorkersView.self, workers).workers,
            running: [
                try decode(
                    TaskView.self,
                    #"{"task_id":"t1","state":"running","started_at":"2030-01-01T00:00:00Z","target":"//a"}"#)
            ],
            ended: [])
    }

    @Test func itShowsTheQueueAtAGlance() throws {
        let now = try #require(HumanTime.parse("2030-01-01T00:01:30Z"))
        let text = try view().text(colour: false, now: now)
        for part in [
            "queue q  paused", "3 pending (2 high, 1 normal)", "1 running", "1 failed",
            "1 of 4 slots busy, 2 workers wanted",
            "2 workers, 1 of 4 slots busy", "1 task that no worker could take", "WORKERS (2)", "RUNNING (1)",
            "1m 30s  //a",
        ] {
            #expect(text.contains(part), "\(part)")
        }
        #expect(!text.contains("LATEST"))
        let order = text.split(separator: "\n").filter { $0.hasPrefix("w") }.map { $0.prefix(2) }
        #expect(order == ["w2", "w1"], "the busy stand first")
    }

    @Test(arguments: [0, 1, 3]) func itSaysHowManyWorkersDrain(count: Int) throws {
        func decode<Value: Decodable>(_ type: Value.Type, _ json: String) throws -> Value {
            try APIClient.decoder.decode(type, from: Data(json.utf8))
        }
        let workers = (0..<3).map { #"{"worker_id":"w\#($0)","slots":2,"draining":\#($0 < count)}"# }
        var view = try view()
        view.workers = try decode(WorkersView.self, #"{"workers":[\#(workers.joined(separator: ","))]}"#).workers
        let text = view.text(colour: false)
        #expect(text.contains("of 6 slots busy, \(count) draining") == (count > 0), "\(text)")
        let stats = try decode(StatsView.self, #"{"total_workers":3,"idle_workers":0,"draining_workers":\#(count)}"#)
        let table = stats.table(queue: "q").render(colour: false)
        #expect(table.contains("0 idle, \(count) draining") == (count > 0), "\(table)")
    }

    @Test(arguments: 8...40) func itFitsTheTerminal(rows: Int) throws {
        let lines = try view().text(rows: rows, colour: false).split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count - 1 <= max(rows, 9))
    }

    @Test func theLongestPartGivesWay() {
        #expect(TopView.fit([10, 4, 3], into: 12) == [5, 4, 3])
        #expect(TopView.fit([10, 4, 3], into: 0) == [1, 1, 1])
        #expect(TopView.fit([1, 2], into: 9) == [1, 2])
    }

    @Test func statsTellTheClassesOfWorkersWhereThereAreSeveral() throws {
        func stats(_ json: String) throws -> StatsView {
            try APIClient.decoder.decode(StatsView.self, from: Data(json.utf8))
        }
        let plain = try stats(
            #"{"classes":[{"class":"","workers":2,"slots":2,"busy":1,"ready":0,"desired_workers":1}]}"#)
        #expect(plain.classTable.rows.isEmpty)
        let two = try stats(
            #"""
            {"pending_tasks":3,"waiting_tasks":2,"blocked_tasks":1,"classes":[
            {"class":"","workers":2,"slots":2,"busy":1,"ready":0,"desired_workers":1},
            {"class":"gpu,+cpu=8","workers":1,"slots":1,"busy":1,"ready":3,"desired_workers":4}]}
            """#)
        #expect(
            two.classTable.render(colour: false) == """
                CLASS       WORKERS  SLOTS  BUSY  READY  WANTED
                (plain)           2      2     1      0       1
                gpu,+cpu=8        1      1     1      3       4

                """)
        #expect(two.table(queue: "q").render(colour: false).contains("2 after others, 1 at a limit"))
    }

    @Test func intoAPipeItPrintsOneViewAfterAnother() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "1"])
        #expect(try await dev.run(["submit", "--wait", "--", "echo", "done"]).exitCode == 0)
        let long = try await dev.run(["submit", "--", "sleep", "60"]).line
        let top = try await Tool.start(["top", "--interval", "0.1"], server: dev.url)
        _ = try await Tool.eventually("the tasks are shown: \(top.stdout)") {
            let text = top.stdout
            return text.contains("RUNNING (1)") && text.contains(long) && text.contains("LATEST (1)") ? true : nil
        }
        // A task that ends later is shown too.
        #expect(try await dev.run(["cancel", long]).exitCode == 0)
        _ = try await Tool.eventually("the cancelled one is shown") { top.stdout.contains("LATEST (2)") ? true : nil }
        #expect(!top.stdout.contains("\u{1B}"))
        top.process.signalGroup(SIGINT)
        _ = try await top.end()
    }
}
