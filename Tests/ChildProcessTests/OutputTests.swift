import Glibc
import Testing

@testable import ChildProcess

@Suite struct InputAndOutput {
    @Test func outputArrivesInOrderWithEveryByte() async throws {
        let child = try await startShell(
            #"printf 'a\000b\377'; read go; printf 'err' >&2; read go; printf 'c'"#, input: .bytes([10, 10]))
        let ran = await finish(child)
        #expect(ran.stdout == [97, 0, 98, 255, 99])
        #expect(ran.stderr == Array("err".utf8))
    }

    @Test func theTwoStreamsKeepTheirOrderOfArrival() async throws {
        // Each line waits for a file, which the test creates after it has read the line before.
        let directory = try temporaryDirectory()
        defer { remove(directory) }
        let child = try await startShell(
            """
            cd \(directory)
            echo one; until [ -e 1 ]; do sleep 0.005; done
            echo two >&2; until [ -e 2 ]; do sleep 0.005; done
            echo three
            """)
        var seen: [String] = []
        for await chunk in child.output {
            seen.append("\(chunk.stream.rawValue) \(String(decoding: chunk.bytes, as: UTF8.self).dropLast())")
            close(creat("\(directory)/\(seen.count)", 0o600))
        }
        #expect(seen == ["stdout one", "stderr two", "stdout three"])
    }

    @Test func inputBytesArriveAndEnd() async throws {
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let child = try await ChildProcess.start(
            .init(arguments: ["cat"], environment: ["PATH": testPath], standardInput: .bytes(bytes)))
        #expect(await finish(child).stdout == bytes)
    }

    @Test func aChildThatDoesNotReadItsInputIsNoError() async throws {
        let child = try await startShell("exec <&-; echo closed", input: .bytes(Array(repeating: 1, count: 1_000_000)))
        let ran = await finish(child)
        #expect(ran.text == "closed\n")
        #expect(ran.status?.exitCode == 0)
    }

    @Test func withoutInputTheChildReadsTheEnd() async throws {
        #expect(await finish(try await startShell("cat; echo end")).text == "end\n")
        #expect(await finish(try await startShell("cat; echo end", input: .bytes([]))).text == "end\n")
    }

    @Test func fiftyMegabytesForASlowReaderStayBounded() async throws {
        let size = 50_000_000
        let bound = OutputBuffer.highWater + 2 * (WatchedChild.readSize + 64)
        let child = try await startShell("head -c \(size) /dev/zero")
        // Nobody reads: the buffer fills to its high-water mark, and the child blocks.
        try await eventually("the buffer fills") { child.record.output.heldBytes >= OutputBuffer.highWater }
        #expect(child.exitStatus == nil)

        var total = 0
        var most = 0
        var chunks = 0
        for await chunk in child.output {
            total += chunk.bytes.count
            chunks += 1
            most = max(most, child.record.output.heldBytes)
            if chunks.isMultiple(of: 50) { try await Task.sleep(for: .milliseconds(2)) }
        }
        #expect(total == size)
        #expect(most <= bound)
        #expect(await child.waitForExit().exitCode == 0)
    }

    /// A reader that never catches up with the child: what it has taken must not stay in memory.
    @Test(arguments: [1, 2, 3]) func takenOutputIsFreed(behind: Int) async throws {
        let buffer = OutputBuffer()
        let chunk = ChildProcess.OutputChunk(
            stream: .stdout, bytes: [UInt8](repeating: 121, count: WatchedChild.readSize))
        for _ in 0..<behind { _ = buffer.push(chunk) }
        var most = 0
        for _ in 0..<3000 {
            _ = buffer.push(chunk)
            #expect(await buffer.next {} == chunk)
            most = max(most, buffer.retainedBytes)
        }
        #expect(most <= (behind + 1) * WatchedChild.readSize)
    }

    @Test func discardedOutputDoesNotHoldTheChildUp() async throws {
        let child = try await startShell("head -c 5000000 /dev/zero; exit 3")
        child.discardOutput()
        #expect(await child.waitForExit().exitCode == 3)
        var iterator = child.output.makeAsyncIterator()
        #expect(await iterator.next() == nil)
    }

    @Test func outputWrittenJustBeforeTheEndIsNotLost() async throws {
        for _ in 0..<20 {
            let child = try await startShell("head -c 60000 /dev/zero; head -c 1000 /dev/zero >&2")
            _ = await child.waitForExit()
            let ran = await finish(child)
            #expect(ran.stdout.count == 60000)
            #expect(ran.stderr.count == 1000)
        }
    }

    @Test func outputEndsAlthoughAProcessOutsideTheGroupHoldsThePipe() async throws {
        let child = try await startShell(
            """
            setsid sleep 1000 & p=$!
            until [ "$(ps -o sid= -p $p | tr -d ' ')" = $p ]; do sleep 0.01; done
            echo $p
            """)
        let ran = await finish(child)
        let stray = try #require(ran.lines.first.flatMap { Int32($0) })
        #expect(isAlive(stray))
        kill(stray, SIGKILL)
    }

    @Test func aCancelledReaderStopsReading() async throws {
        let child = try await startShell("sleep 1000")
        let reader = Task { await finish(child) }
        reader.cancel()
        await child.terminate(grace: .seconds(5))
        #expect(await reader.value.stdout.isEmpty)
    }
}
