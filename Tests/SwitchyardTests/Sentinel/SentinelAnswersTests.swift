import NIOCore
import Testing

@testable import RedisClient

/// Which of several sentinels' answers counts.
@Suite struct SentinelAnswersTests {
    private typealias Answer = SentinelAnswers.Answer

    private static func at(_ port: Int, _ epoch: Int64) -> SentinelPrimary {
        SentinelPrimary(endpoint: .tcp(host: "10.0.0.1", port: port), epoch: epoch)
    }

    private static func says(_ port: Int, _ epoch: Int64, healthy: Bool = true) -> Answer {
        .primary(at(port, epoch), isHealthy: healthy)
    }

    private static func answers(_ answers: [Answer]) -> SentinelAnswers {
        SentinelAnswers(
            name: "tasks",
            answers: answers.enumerated().map { (.tcp(host: "s\($0.offset)", port: 26379), $0.element) })
    }

    @Test func theLatestFailoverCountsWhoeverTellsOfIt() {
        for place in 0..<3 {
            var all = [Answer](repeating: Self.says(1, 4), count: 3)
            all[place] = Self.says(2, 5)
            #expect(Self.answers(all).primary(known: Self.at(1, 4)) == Self.at(2, 5))
            #expect(!Self.answers(all).isSettled)
        }
    }

    @Test func atTheSameEpochTheMostCount() {
        let all = Self.answers([Self.says(1, 0), Self.says(2, 0), Self.says(2, 0)])
        #expect(all.primary(known: nil) == Self.at(2, 0))
    }

    @Test func oldNewsOfAFewSentinelsIsNotBelieved() {
        let old = Self.says(1, 4)
        let away = Answer.unreachable("refused")
        #expect(Self.answers([old, away, away]).primary(known: Self.at(2, 5)) == Self.at(2, 5))
        #expect(Self.answers([old, .unknownName, away]).primary(known: Self.at(2, 5)) == Self.at(2, 5))
        // Most of them agree: they were set up again.
        #expect(Self.answers([old, old, away]).primary(known: Self.at(2, 5)) == Self.at(1, 4))
        #expect(Self.answers([old]).primary(known: Self.at(2, 5)) == Self.at(1, 4))
    }

    @Test func withoutAnyAnswerThereIsNoPrimary() {
        let silent = Self.answers([.unreachable("refused"), .refused("NOAUTH Authentication required.")])
        #expect(silent.primary(known: Self.at(1, 1)) == nil)
        #expect(silent.isSilence)
        #expect(!Self.answers([.unreachable("refused"), .unknownName]).isSilence)
        #expect(!Self.answers([.unreachable("refused"), Self.says(1, 1)]).isSilence)
    }

    @Test func theMatterIsSettledWhenMostAgreeAndNobodyMissesThePrimary() {
        let away = Answer.unreachable("refused")
        #expect(Self.answers([Self.says(1, 1), Self.says(1, 1), away]).isSettled)
        #expect(!Self.answers([Self.says(1, 1), away, away]).isSettled)
        #expect(!Self.answers([Self.says(1, 1), Self.says(1, 1), Self.says(1, 1, healthy: false)]).isSettled)
    }

    @Test(arguments: [
        (Answer.unknownName, "it has no primary of this name", "Check the name", true),
        (.refused("NOAUTH Authentication required."), "it replied NOAUTH", "sentinel_password", true),
        (.refused("ERR unknown command 'SENTINEL'"), "unknown command", "not of Redis servers", true),
        (.unreachable("cannot connect"), "cannot connect", "whether they run", false),
    ])
    fileprivate func anErrorSaysWhatEachSentinelSaidAndWhatToDo(
        answer: SentinelAnswers.Answer, said: String, advice: String, isFinal: Bool
    ) {
        let error = Self.answers([answer, answer]).error(endpoint: "tasks")
        for part in ["\"tasks\"", "s0:26379", "s1:26379", said, advice] {
            #expect(error.message.contains(part), "\(part) is not in \(error.message)")
        }
        #expect((error.kind == .invalidConfiguration) == isFinal)
        // One sentinel that is away may know better.
        let mixed = Self.answers([answer, .unreachable("refused")]).error(endpoint: "tasks")
        #expect(mixed.kind == .connectionFailed)
    }

    @Test func aReplyWithoutItsPartsIsRefused() {
        func text(_ words: String...) -> RESPValue { .array(words.map { .bulkString(.init(string: $0)) }) }
        let master = text("name", "tasks", "flags", "master", "config-epoch", "7")
        #expect(SentinelLink.answer(master, text("10.0.0.1", "6379")) == Self.says(6379, 7))
        let failing = text("flags", "s_down,master", "config-epoch", "7")
        #expect(SentinelLink.answer(failing, text("10.0.0.1", "6379")) == Self.says(6379, 7, healthy: false))
        #expect(SentinelLink.answer(master, .null) == .unknownName)
        for odd in [(text(), text("a", "1")), (master, text("a")), (master, text("a", "b")), (.null, text("a", "1"))] {
            guard case .refused = SentinelLink.answer(odd.0, odd.1) else {
                Issue.record("\(odd) was taken for an answer")
                continue
            }
        }
    }
}
