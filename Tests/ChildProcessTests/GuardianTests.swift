import Glibc
import Testing

@testable import ChildProcess

@Suite struct GuardianProcess {
    private func startGroups(_ mode: String) async throws -> (parent: ChildProcess, groups: [Int32]) {
        let parent = try await startFixture(mode, "3")
        let groups = await firstLine(of: parent).split(separator: " ").compactMap { Int32($0) }
        try #require(groups.count == 3)
        return (parent, groups)
    }

    private func expectAllGone(_ groups: [Int32]) async throws {
        for group in groups {
            try await eventually("group \(group) is empty") { members(of: group).isEmpty }
        }
    }

    private func guardianID(of parent: ChildProcess) -> Int32? {
        ProcessEntry.all().first { $0.parent == parent.processID && $0.name == "sw-guardian" }?.processID
    }

    @Test func killingTheParentKillsAllItsGroups() async throws {
        let (parent, groups) = try await startGroups("groups")
        for group in groups { #expect(members(of: group).count >= 2) }
        let guardian = try #require(guardianID(of: parent))
        kill(parent.processID, SIGKILL)  // the process alone, as the kernel's OOM killer does
        try await expectAllGone(groups)
        try await eventually("the guardian ends too") { !isAlive(guardian) }
    }

    @Test func aNormalExitOfTheParentKillsAllItsGroups() async throws {
        let (parent, groups) = try await startGroups("exit")
        #expect(await parent.waitForExit().exitCode == 0)
        try await expectAllGone(groups)
    }

    @Test func theGuardianOutlivesTheSignalsOfATerminal() async throws {
        let (parent, groups) = try await startGroups("groups")
        let guardian = try #require(guardianID(of: parent))
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] { kill(guardian, signal) }
        #expect(getpgid(guardian) != getpgid(parent.processID))
        kill(parent.processID, SIGKILL)
        try await expectAllGone(groups)
    }

    @Test func aDeadGuardianIsReplacedAndToldAgain() async throws {
        let (parent, groups) = try await startGroups("groups")
        let first = try #require(guardianID(of: parent))
        // A guardian that dies within a second of its start is replaced only at the next start of a child; this parent
        // starts none.
        try await Task.sleep(for: .milliseconds(1200))
        kill(first, SIGKILL)
        try await eventually("another guardian") { guardianID(of: parent).map { $0 != first } ?? false }
        kill(parent.processID, SIGKILL)
        try await expectAllGone(groups)
    }

    @Test func startingWorksRightAfterTheGuardianDied() async throws {
        let guardian = try Reactor.shared(program: "test").guardian
        for _ in 0..<5 {
            let ran = await finish(try await startShell("exit 4"))
            #expect(ran.status?.exitCode == 4, "\(ran)")
            let processID = guardian.processID
            if processID > 1 { kill(processID, SIGKILL) }
        }
        let ran = await finish(try await startShell("exit 4"))
        #expect(ran.status?.exitCode == 4, "\(ran)")
    }

    /// The socket to a guardian that does not read is full after some hundred messages; each child takes three.
    @Test func aStoppedGuardianHoldsUpNobodyAndIsReplaced() async throws {
        let guardian = try Reactor.shared(program: "test").guardian
        let kept = try await startShell("echo up; sleep 1000")
        #expect(await firstLine(of: kept) == "up")
        for round in 1...2 {
            let stopped = guardian.processID
            kill(stopped, SIGSTOP)
            let started = ContinuousClock.now
            for number in 0..<200 {
                let status = await finish(try await startShell("exit \(number % 3)")).status
                #expect(status?.exitCode == Int32(number % 3))
            }
            #expect(ContinuousClock.now - started < .seconds(60))
            #expect(guardian.processID != stopped, "round \(round)")
            #expect(!isAlive(stopped), "round \(round)")
        }
        await kept.terminate(grace: .zero)
    }

    @Test func aGuardianThatReplacesAStoppedOneGuardsTheOlderGroups() async throws {
        let (parent, groups) = try await startGroups("busy")
        let first = try #require(guardianID(of: parent))
        kill(first, SIGSTOP)
        try await eventually("another guardian") { guardianID(of: parent).map { $0 != first } ?? false }
        kill(parent.processID, SIGKILL)
        try await expectAllGone(groups)
    }

    /// As something does that kills all processes of a user at once. The guardian is stopped first, so that it dies
    /// before it kills.
    @Test func theLeadersEndAlsoIfTheGuardianDiesWithTheParent() async throws {
        let (parent, groups) = try await startGroups("groups")
        let guardian = try #require(guardianID(of: parent))
        kill(guardian, SIGSTOP)
        kill(parent.processID, SIGKILL)
        kill(guardian, SIGKILL)
        for group in groups {
            try await eventually("the leader of \(group) is gone") { !isAlive(group) }
            kill(-group, SIGKILL)  // its grandchildren go on: only the leader has the second belt
        }
    }
}
