import NIOCore
import Testing

@testable import RedisClient

/// Which of several sentinels' replies counts.
@Suite struct SentinelRepliesTests {
    private typealias Reply = SentinelReplies.Reply

    private static func at(_ port: Int, _ epoch: Int64) -> SentinelPrimary {
        SentinelPrimary(endpoint: .tcp(host: "10.0.0.1", port: port), epoch: epoch)
    }

    private static func says(_ port: Int, _ epoch: Int64, healthy: Bool = true) -> Reply {
        .primary(at(port, epoch), isHealthy: healthy)
    }

    private static func replies(_ replies: [Reply]) -> SentinelReplies {
        SentinelReplies(
            name: "tasks",
            replies: replies.enumerated().map { (.tcp(host: "s\($0.offset)", port: 26379), $0.element) })
    }

    @Test func theLatestFailoverCountsWhoeverTellsOfIt() {
        for place in 0..<3 {
            var all = [Reply](repeating: Self.says(1, 4), count: 3)
            all[place] = Self.says(2, 5)
            #expect(Self.replies(all).primary(known: Self.at(1, 4)) == Self.at(2, 5))
            #expect(!Self.replies(all).isSettled)
        }
    }

    @Test func atTheSameEpochTheMostCount() {
        let all = Self.replies([Self.says(1, 0), Self.says(2, 0), Self.says(2, 0)])
        #expect(all.primary(known: nil) == Self.at(2, 0))
    }

    @Test func oldNewsOfAFewSentinelsIsNotBelieved() {
        let old = Self.says(1, 4)
        let away = Reply.unreachable("refused")
        #expect(Self.replies([old, away, away]).primary(known: Self.at(2, 5)) == Self.at(2, 5))
        #expect(Self.replies([old, .unknownName, away]).primary(known: Self.at(2, 5)) == Self.at(2, 5))
        // The only one that heard of the failover may be the one that is away.
        #expect(Self.replies([old, old, away]).primary(known: Self.at(2, 5)) == Self.at(2, 5))
        // All of them agree: they were set up again.
        #expect(Self.replies([old, old, old]).primary(known: Self.at(2, 5)) == Self.at(1, 4))
        #expect(Self.replies([old]).primary(known: Self.at(2, 5)) == Self.at(1, 4))
    }

    @Test func withoutAnyReplyThereIsNoPrimary() {
        let silent = Self.replies([.unreachable("refused"), .refused("NOAUTH Authentication required.")])
        #expect(silent.primary(known: Self.at(1, 1)) == nil)
        #expect(silent.isSilence)
        #expect(!Self.replies([.unreachable("refused"), .unknownName]).isSilence)
        #expect(!Self.replies([.unreachable("refused"), Self.says(1, 1)]).isSilence)
    }

    @Test func theMatterIsSettledWhenMostAgreeAndNobodyMissesThePrimary() {
        let away = Reply.unreachable("refused")
        #expect(Self.replies([Self.says(1, 1), Self.says(1, 1), away]).isSettled)
        #expect(!Self.replies([Self.says(1, 1), away, away]).isSettled)
        #expect(!Self.replies([Self.says(1, 1), Self.says(1, 1), Self.says(1, 1, healthy: false)]).isSettled)
    }

    @Test(arguments: [
        (Reply.unknownName, "it has no primary of this name", "Check the name", true),
        (.refused("NOAUTH Authentication required."), "it replied NOAUTH", "sentinel_password", true),
        (
            .refused("ERR AUTH <password> called without any password configured for the default user."),
            "without any password", "leave sentinel_user and sentinel_password out", true
        ),
        (.refused("ERR unknown command 'SENTINEL'"), "unknown command", "not of Redis servers", true),
        (.unreachable("cannot connect"), "cannot connect", "whether they run", false),
    ])
    fileprivate func anErrorSaysWhatEachSentinelSaidAndWhatToDo(
        reply: SentinelReplies.Reply, said: String, advice: String, isFinal: Bool
    ) {
        let error = Self.replies([reply, reply]).error(endpoint: "tasks")
        for part in ["\"tasks\"", "s0:26379", "s1:26379", said, advice] {
            #expect(error.message.contains(part), "\(part) is not in \(error.message)")
        }
        #expect((error.kind == .invalidConfiguration) == isFinal)
        // One sentinel that is away may know better.
        let mixed = Self.replies([reply, .unreachable("refused")]).error(endpoint: "tasks")
        #expect(mixed.kind == .connectionFailed)
    }

    @Test func aReplyWithoutItsPartsIsRefused() {
        func text(_ words: String...) -> RESPValue { .array(words.map { .bulkString(.init(string: $0)) }) }
        let master = text("name", "tasks", "flags", "master", "config-epoch", "7")
        #expect(SentinelLink.reply(master, text("10.0.0.1", "6379")) == Self.says(6379, 7))
        let failing = text("flags", "s_down,master", "config-epoch", "7")
        #expect(SentinelLink.reply(failing, text("10.0.0.1", "6379")) == Self.says(6379, 7, healthy: false))
        #expect(SentinelLink.reply(master, .null) == .unknownName)
        for odd in [(text(), text("a", "1")), (master, text("a")), (master, text("a", "b")), (.null, text("a", "1"))] {
            guard case .refused = SentinelLink.reply(odd.0, odd.1) else {
                Issue.record("\(odd) was taken for an reply")
                continue
            }
        }
    }
}
