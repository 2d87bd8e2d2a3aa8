import ChildProcess
import Glibc
import Testing

@Suite struct Ending {
    @Test(arguments: [0, 1, 77, 255] as [Int32])
    func theExitCodeIsReported(code: Int32) async throws {
        let status = await finish(try await startShell("exit \(code)")).status
        #expect(status?.exitCode == code)
        #expect(status?.signal == nil)
        #expect(status?.isSuccess == (code == 0))
    }

    @Test func theSignalIsReported() async throws {
        let status = await finish(try await startShell("kill -USR1 $$")).status
        #expect(status?.exitCode == nil)
        #expect(status?.signal == SIGUSR1)
    }

    @Test func resourceUseIsMeasured() async throws {
        // The shell counts in a loop, so it uses processor time, and its resident memory has at least a few pages.
        let status = await finish(try await startShell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")).status
        let ended = try #require(status)
        #expect(ended.userTime > 0.005)
        #expect(ended.systemTime >= 0)
        #expect(ended.maxResidentBytes > 100_000)
        #expect(ended.duration > .milliseconds(5))
        #expect(ended.duration < .seconds(60))
    }

    @Test func everyWaiterLearnsOfTheEndAlsoAfterIt() async throws {
        let child = try await startShell("read x; exit 9", input: .bytes([10]))
        await withTaskGroup(of: Int32?.self) { group in
            for _ in 0..<10 { group.addTask { await child.waitForExit().exitCode } }
            for await code in group { #expect(code == 9) }
        }
        #expect(await child.waitForExit().exitCode == 9)
        #expect(child.exitStatus?.exitCode == 9)
        child.signalGroup(SIGKILL)  // reaches nobody
    }

    @Test func terminateIsGentleFirst() async throws {
        let child = try await startShell("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
        var text = ""
        // A shell may write "Terminated" to stderr.
        for await chunk in child.output where chunk.stream == .stdout {
            text += String(decoding: chunk.bytes, as: UTF8.self)
            if text == "ready\n" { await child.terminate(grace: .seconds(30)) }
        }
        #expect(text == "ready\nbye\n")
        #expect(await child.waitForExit().exitCode == 5)
    }

    @Test func terminateKillsGrandchildrenThatIgnoreSIGTERM() async throws {
        let child = try await startShell(#"trap "" TERM; sleep 1000 & sleep 1000 & echo ready; wait; wait"#)
        #expect(await firstLine(of: child) == "ready")
        try await eventually("three members") { members(of: child.processGroup).count == 3 }
        let started = ContinuousClock.now
        await child.terminate(grace: .milliseconds(100))
        #expect(ContinuousClock.now - started >= .milliseconds(100))
        #expect(await child.waitForExit().signal == SIGKILL)
        try await eventually("the group is empty") { members(of: child.processGroup).isEmpty }
    }

    @Test func whatALeaderLeavesBehindIsKilled() async throws {
        let child = try await startShell(#"trap "" TERM HUP; sleep 1000 & sleep 1000 & exit 0"#)
        #expect(await finish(child).status?.exitCode == 0)
        try await eventually("the group is empty") { members(of: child.processGroup).isEmpty }
    }

    @Test func cancellingTheCallerDoesNotShortenTheGrace() async throws {
        let child = try await startShell("trap 'sleep 0.2; exit 6' TERM; echo ready; while :; do sleep 0.01; done")
        #expect(await firstLine(of: child) == "ready")
        let stopping = Task { await child.terminate(grace: .seconds(30)) }
        stopping.cancel()
        await stopping.value
        #expect(child.exitStatus?.exitCode == 6)
    }

    @Test func aReleasedHandleEndsItsGroup() async throws {
        let group = try await startShell("sleep 1000 & sleep 1000").processGroup
        try await eventually("the group is empty") { members(of: group).isEmpty }
    }

    @Test func noDescriptorIsLeftBehind() async throws {
        // The other suites run at the same time, so only growth that persists counts.
        func count() async throws -> Int { try await run(["sh", "-c", "ls /proc/\(getpid())/fd"]).lines.count }
        let before = try await count()
        for _ in 0..<50 {
            _ = await finish(try await startShell("exit 0"))
            _ = try? await ChildProcess.start(.init(arguments: ["/nowhere"], standardInput: .bytes([1])))
        }
        try await eventually("descriptors are closed") { try await count() < before + 40 }
    }
}
