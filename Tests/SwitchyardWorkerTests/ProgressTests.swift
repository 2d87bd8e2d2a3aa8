import Testing

@testable import SwitchyardWorker

@Suite("Progress")
struct ProgressTests {
    /// The queue refuses a heartbeat with more bytes, and with it the renewal of every lease.
    @Test(arguments: [
        ("", 0), ("half", 4), (String(repeating: "a", count: 1024), 1024), (String(repeating: "a", count: 1025), 1024),
        (String(repeating: "é", count: 600), 1024), ("a" + String(repeating: "é", count: 600), 1023),
        (String(repeating: "🏳️‍🌈", count: 256), 1022), (String(repeating: "\u{301}", count: 2000), 0),
    ])
    func isCutAtAWholeCharacter(text: String, bytes: Int) {
        let kept = text.prefix(maxBytes: 1024)
        #expect(kept.utf8.count == bytes)
        #expect(text.hasPrefix(kept))
    }
}
