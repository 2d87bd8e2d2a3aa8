import Foundation
import Testing

@testable import SwitchyardTorture

@Suite("The journal of executions")
struct ExecutionTests {
    private func read(_ text: String) throws -> [Execution] {
        let path = NSTemporaryDirectory() + "journal-\(UUID().uuidString)"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try Execution.read(path)
    }

    @Test func joinsStartsAndEnds() throws {
        let executions = try read(
            """
            start a 1 w1 10.00
            start b 1 w1 10.50
            end a 1 w1 11.00
            start a 2 w2 12.25
            """)
        #expect(executions.map(\.task) == ["a", "b", "a"])
        #expect(executions.map { $0.to?.seconds } == [11, nil, nil])
    }

    @Test func refusesWhatItCannotRead() {
        #expect(throws: TortureError.self) { try read("start a one w1 10.00") }
    }
}
