import Testing

@testable import Switchyard

@Suite struct RandomIDTests {
    @Test func randomIDsAreShortAndDiffer() {
        let ids = Set((0..<1000).map { _ in QueuedTask.randomID() })
        #expect(ids.count == 1000)
        #expect(ids.allSatisfy { $0.utf8.count == 20 && (try? Name.validate($0, field: "id")) != nil })
        // Each position takes every character.
        #expect(Set(ids.map(\.first)).count == 32 && Set(ids.map(\.last)).count == 32)
    }
}
