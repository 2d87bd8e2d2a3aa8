import ChildProcess
import Glibc
import Testing

/// What a leader leaves behind may write for a while, if the command says so.
@Suite struct Lingering {
    private func start(_ script: String, linger: Duration) async throws -> ChildProcess {
        var command = ChildProcess.Command(arguments: ["sh", "-c", script], environment: ["PATH": testPath])
        command.linger = linger
        return try await ChildProcess.start(command)
    }

    @Test(arguments: ["echo late", "echo late >&2", "exec >&-; echo late >&2"])
    func outputAfterTheEndOfTheLeaderIsRead(writing: String) async throws {
        let started = ContinuousClock.now
        let child = try await start("(sleep 1; \(writing)) & exit 3", linger: .seconds(30))
        let ran = await finish(child)
        #expect(ran.stdout + ran.stderr == Array("late\n".utf8))
        #expect(ran.status?.exitCode == 3)
        // The time of the program itself.
        #expect(try #require(ran.status).duration < ContinuousClock.now - started - .milliseconds(200))
    }

    @Test func theGroupIsKilledWhenNobodyCanWrite() async throws {
        let child = try await start("sleep 1000 >/dev/null 2>&1 & exit 0", linger: .seconds(1000))
        #expect(await finish(child).status?.exitCode == 0)
        try await eventually("the group is empty") { members(of: child.processGroup).isEmpty }
    }

    @Test func theTimeIsBounded() async throws {
        let child = try await start(
            "(trap '' TERM HUP; while echo x; do sleep 0.1; done) & exit 0", linger: .seconds(1))
        let started = ContinuousClock.now
        let ran = await finish(child)
        #expect(ContinuousClock.now - started > .milliseconds(900))
        #expect(!ran.lines.isEmpty)
        try await eventually("the group is empty") { members(of: child.processGroup).isEmpty }
    }

    @Test func aGroupThatIsToldToEndHasTheGrace() async throws {
        let script = "(trap 'sleep 0.3; echo dump; exit' TERM; echo ready; while :; do sleep 0.01; done) & wait"
        let child = try await start(script, linger: .milliseconds(50))
        var text = ""
        for await chunk in child.output where chunk.stream == .stdout {
            text += String(decoding: chunk.bytes, as: UTF8.self)
            if text == "ready\n" { Task { await child.terminate(grace: .seconds(20)) } }
        }
        #expect(text == "ready\ndump\n")
        #expect(await child.waitForExit().signal == SIGTERM)
    }

    @Test func signalsReachALingeringGroupAndAReleasedHandleEndsIt() async throws {
        let child = try await start(
            "(trap 'echo got; exit' USR1; echo ready; while :; do sleep 0.01; done) & exit 0", linger: .seconds(60))
        var text = ""
        for await chunk in child.output where chunk.stream == .stdout {
            text += String(decoding: chunk.bytes, as: UTF8.self)
            guard text == "ready\n" else { continue }
            #expect(child.exitStatus == nil)
            child.signalGroup(SIGUSR1)
        }
        #expect(text == "ready\ngot\n")
        _ = await child.waitForExit()

        let group = try await start("sleep 1000 & exit 0", linger: .seconds(1000)).processGroup
        try await eventually("the group is empty") { members(of: group).isEmpty }
    }
}
