import Foundation
import Testing

@testable import Switchyard

@Suite struct JSONTextTests {
    @Test(arguments: [
        [], [""], ["a", "b/c"], ["\"quoted\" \\ and \n \r \t \u{8} \u{c} \u{1} \u{1f} \u{7f}", "größer 🚂 \u{2028}"],
        ["\r\n", "e\u{301}", "\0"],
    ])
    func aListReadsBackAsItWas(texts: [String]) throws {
        let data = Data(JSONText.list(texts).utf8)
        #expect(try JSONDecoder().decode([String].self, from: data) == texts)
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        #expect(try encoder.encode(texts) == data)
    }

    @Test func anObjectIsSortedByItsNames() {
        #expect(JSONText.object(["b": "2", "a\"": "1", "": "/"]) == #"{"":"/","a\"":"1","b":"2"}"#)
        #expect(JSONText.object([:]) == "{}")
    }

    @Test func randomIDsAreShortAndDiffer() {
        let ids = Set((0..<1000).map { _ in QueuedTask.randomID() })
        #expect(ids.count == 1000)
        #expect(ids.allSatisfy { $0.utf8.count == 20 && (try? Name.validate($0, field: "id")) != nil })
        // Each position takes every character.
        #expect(Set(ids.map(\.first)).count == 32 && Set(ids.map(\.last)).count == 32)
    }
}
