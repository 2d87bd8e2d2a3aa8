import Switchyard
import Testing

@testable import SwitchyardHTTP

/// The kind of a task over HTTP: there and back, in lists, and in the task of a schedule.
@Suite struct KindTests {
    @Test func isReadBackAndFiltersLists() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        var ids: [String] = []
        for n in 0..<7 {
            let kind = n % 3 == 0 ? #"{"kind":"render"}"# : n % 3 == 1 ? #"{"kind":"encode:h264"}"# : "{}"
            ids.append(try await world.submit(kind, queue: queue))
        }
        let task = try await world.ask(.GET, "/scheduler/task/\(ids[0])?queue=\(queue)")
        #expect(task["kind"].string == "render")
        let without = try await world.ask(.GET, "/scheduler/task/\(ids[2])?queue=\(queue)")
        #expect(!without.json.names.contains("kind"))
        for (kind, count) in [("render", 3), ("encode:h264", 2), ("none", 0)] {
            let page = try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)&kind=\(kind)")
            #expect(page["tasks"].count == count, "\(kind)")
        }
    }

    @Test(arguments: [#""""#, #""two words""#, "7", #"["render"]"#])
    func thatIsNoNameIsRefused(kind: String) async throws {
        let world = try await World.shared
        let reply = try await world.ask(
            .POST, "/scheduler/task?queue=\(world.newQueue())", json: #"{"kind":\#(kind)}"#)
        #expect(reply.status == 400)
        #expect(reply.json.text.contains("kind"))
    }
}
