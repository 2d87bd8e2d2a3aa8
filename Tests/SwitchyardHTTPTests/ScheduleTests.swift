import Foundation
import Switchyard
import Testing

@testable import SwitchyardHTTP

@Suite struct ScheduleTests {
    private static let page = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Sources/Switchyard/Switchyard.docc/Schedules.md")

    /// The path and the body of the guide's example request.
    private func example() throws -> (path: String, body: String) {
        let text = try String(contentsOf: Self.page, encoding: .utf8)
        let match = try #require(try #/```http\nPUT (\S+)\n(.+?)\n```/#.dotMatchesNewlines().firstMatch(in: text))
        return (String(match.1), String(match.2))
    }

    @Test func theExampleOfTheGuideMakesAScheduleThatIsListedAndRemoved() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let (path, body) = try example()
        let made = try await world.ask(.PUT, "\(path)?queue=\(queue)", json: body)
        #expect(made.status == 201, "\(made.text)")
        #expect(made["schedule_id"].string == "nightly")
        #expect(made["queue"].string == queue)
        #expect(made["zone"].string == "Europe/Berlin")
        #expect(made["missed"].string == "skip")
        #expect(made["last_at"] == .null)
        let next = try #require(made["next_at"].string.flatMap(RFC3339.date))
        #expect(next > Date() && next < Date(timeIntervalSinceNow: 26 * 3600))

        let again = try await world.ask(.PUT, "\(path)?queue=\(queue)", json: body)
        #expect(again.status == 200)
        #expect(again["next_at"] == made["next_at"])
        let one = try await world.ask(.GET, "\(path)?queue=\(queue)")
        #expect(one["task"]["command"][2].string == "all")
        #expect(one["task"]["max_retries"].int == 2)
        let list = try await world.ask(.GET, "/scheduler/schedules?queue=\(queue)")
        #expect(list["schedules"].count == 1)
        #expect(list["schedules"][0] == one.json)

        let removed = try await world.ask(.DELETE, "\(path)?queue=\(queue)")
        #expect(removed.status == 200)
        #expect(try await world.ask(.GET, "/scheduler/schedules?queue=\(queue)")["schedules"].count == 0)
        try await world.ask(.DELETE, "\(path)?queue=\(queue)").expectProblem(404, code: "NotFound")
        try await world.ask(.GET, "\(path)?queue=\(queue)").expectProblem(404, code: "NotFound")
    }

    @Test(arguments: [
        (#"{"task":{}}"#, "cron"), (#"{"cron":"","task":{}}"#, "cron"), (#"{"cron":5,"task":{}}"#, "cron"),
        (#"{"cron":"61 * * * *","task":{}}"#, "cron"), (#"{"cron":"0 0 30 2 *","task":{}}"#, "cron"),
        (#"{"cron":"@daily"}"#, "task"), (#"{"cron":"@daily","task":null}"#, "task"),
        (#"{"cron":"@daily","task":[]}"#, "task"),
        (#"{"cron":"@daily","zone":"Mars/Olympus","task":{}}"#, "zone"),
        (#"{"cron":"@daily","missed":"twice","task":{}}"#, "missed"),
        (#"{"cron":"@daily","task":{"id":"a"}}"#, "task.id"),
        (#"{"cron":"@daily","task":{"run_at":"2030-01-01T00:00:00Z"}}"#, "task.run_at"),
        (#"{"cron":"@daily","task":{"queue":"q"}}"#, "task.queue"),
        (#"{"cron":"@daily","task":{"if_no_workers":"reject"}}"#, "task.if_no_workers"),
        (#"{"cron":"@daily","task":{"replicas_to_wait":1}}"#, "task.replicas_to_wait"),
        (#"{"cron":"@daily","task":{"args":[1]}}"#, "task.args[0]"),
        (#"{"cron":"@daily","next":1,"task":{}}"#, "next"),
    ])
    func aBadScheduleIsRefusedByItsField(body: String, field: String) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        try await world.ask(.PUT, "/scheduler/schedule/s?queue=\(queue)", json: body)
            .expectProblem(400, code: "BadRequest", field: field)
        #expect(try await world.ask(.GET, "/scheduler/schedules?queue=\(queue)")["schedules"].count == 0)
    }

    @Test func aPayloadIsSubmittedAsItWasPut() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(
            .PUT, "/scheduler/schedule/s?queue=\(queue)",
            json: #"{"cron":"@daily","task":{"payload":{"ü":[1.50,"\u0000"]},"priority":"low","delay_seconds":1.5}}"#)
        #expect(answer.status == 201, "\(answer.text)")
        let task = try await world.ask(.GET, "/scheduler/schedule/s?queue=\(queue)")["task"]
        #expect(task["payload"]["ü"][0] == .number("1.50"))
        #expect(task["payload"]["ü"][1].string == "\u{0}")
        #expect(task["priority"].string == "low")
        #expect(task["delay_seconds"] == .number("1.5"))
    }
}
