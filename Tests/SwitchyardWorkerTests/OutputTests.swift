import Foundation
import NIOCore
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// What a command prints arrives in the task's log, whenever and however it is written.
@Suite struct OutputTests {
    private static let dumps = [
        // The command itself; one whose dump takes a while; a child of it; the end of a pipe.
        #"trap "echo dump; exit 1" TERM; echo ready; while :; do sleep 0.02; done"#,
        #"trap "sleep 0.3; echo dump >&2; exit 0" TERM; echo ready; while :; do sleep 0.02; done"#,
        #"(trap "sleep 0.2; echo dump; exit 1" TERM; echo ready; while :; do sleep 0.02; done) & wait"#,
        #"exec > >(trap "" TERM; cat); trap "echo dump; exit 1" TERM; echo ready; while :; do sleep 0.02; done"#,
    ]

    @Test(arguments: dumps, [true, false])
    func whatACommandPrintsWhenItIsToldToEndIsKept(script: String, isCancelled: Bool) async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            let handler = CommandHandler(grace: .seconds(5))
            try await queue.withWorker(slots: 2, handler: handler) { _ in
                let id = try await queue.submit(
                    command: ["bash", "-c", script], timeout: .seconds(isCancelled ? 60 : 1))
                #expect(try await eventually { try await queue.logText(id).contains("ready") })
                if isCancelled { try await queue.handle.cancelTask(id) }
                #expect(try await queue.ended(id).state == (isCancelled ? .cancelled : .timeout))
                // bash may add a line about its child that was terminated.
                #expect(try await eventually { try await queue.logText(id).contains("dump\n") })
            }
        }
    }

    @Test func theEndOfAPipelineIsNotCut() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker(slots: 2) { _ in
                let expected = (1...20_000).map { "\($0)\n" }.joined()
                for _ in 0..<15 {
                    let script = "exec > >(tee /dev/null); seq 1 20000"
                    let id = try await queue.submit(command: ["bash", "-c", script])
                    #expect(try await queue.ended(id).state == .completed)
                    // The log is complete when the task has ended.
                    #expect(try await queue.logText(id) == expected)
                }
            }
        }
    }

    @Test func whatACommandLeavesBehindMayWriteForAShortTime() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            var handler = CommandHandler(grace: .milliseconds(300))
            handler.linger = .seconds(2)
            try await queue.withWorker(slots: 4, handler: handler) { _ in
                let late = try await queue.submit(command: ["sh", "-c", "(sleep 0.7; echo late) & exit 3"])
                let silent = try await queue.submit(command: ["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"])
                let endless = try await queue.submit(command: ["sh", "-c", "sleep 1000 & echo $!"])
                let start = ContinuousClock.now
                #expect(try await queue.ended(silent).state == .completed)
                #expect(ContinuousClock.now - start < .seconds(1.5))
                #expect(try await queue.ended(late).exitCode == 3)
                #expect(try await queue.logText(late) == "late\n")
                #expect(try await queue.ended(endless).state == .completed)
                #expect(ContinuousClock.now - start < .seconds(10))
                for id in [silent, endless] {
                    let left = try #require(Int(try await queue.logText(id).trimmingCharacters(in: .newlines)))
                    #expect(try await eventually { !isAlive(left) })
                }
            }
        }
    }

    @Test func manyShortLinesAreMergedAndAllKept() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let script = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo $i; done"
                let id = try await queue.submit(command: ["sh", "-c", script])
                #expect(try await queue.ended(id).state == .completed)
                let entries = try await queue.handle.readLog(id)
                #expect(entries.map { String(buffer: $0.data) }.joined() == (1...5000).map { "\($0)\n" }.joined())
                #expect(entries.count < 500)
            }
        }
    }

    @Test func outputDuringAnOutageIsWrittenAfterItAndALossIsTold() async throws {
        try await TestRedis.run(.always) { redis in
            try await TestQueue.run(on: redis, settings: quickSettings.merging(["lease_ms": 60_000]) { $1 }) { queue in
                try await queue.withWorker(slots: 2) { _ in
                    let go = "until [ -e \"$0/go\" ]; do sleep 0.02; done"
                    let files = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
                    try FileManager.default.createDirectory(atPath: files, withIntermediateDirectories: true)
                    let little = try await queue.submit(command: [
                        "sh", "-c", "echo first; \(go); for i in 1 2 3; do echo $i; sleep 0.3; done; touch \"$0/a\"",
                        files,
                    ])
                    // More than is kept: the beginning is lost, the end is not.
                    let much = try await queue.submit(command: [
                        "sh", "-c", "echo first; \(go); head -c 5000000 /dev/zero; echo last; touch \"$0/b\"", files,
                    ])
                    for id in [little, much] {
                        #expect(try await eventually { try await queue.logText(id) == "first\n" })
                    }
                    await redis.kill()
                    FileManager.default.createFile(atPath: files + "/go", contents: nil)
                    // Longer than a single call is retried, which is 8 s; nothing else would show a loss.
                    for file in ["a", "b"] {
                        #expect(
                            try await eventually(within: .seconds(30)) {
                                FileManager.default.fileExists(atPath: files + "/" + file)
                            })
                    }
                    try await Task.sleep(for: .seconds(9))
                    try await redis.restart()
                    for id in [little, much] { #expect(try await queue.ended(id).state == .completed) }
                    #expect(try await queue.logText(little) == "first\n1\n2\n3\n")
                    let entries = try await queue.handle.readLog(much)
                    let kept = entries.reduce(0) { $0 + $1.data.readableBytes }
                    let missing = entries.reduce(0) { $0 + $1.missingBytes }
                    #expect(kept + missing == 5_000_011)
                    #expect(missing > 0)
                    #expect(entries.last.map { String(buffer: $0.data).hasSuffix("last\n") } == true)
                    try FileManager.default.removeItem(atPath: files)
                }
            }
        }
    }

    private static let texts: [String: [UInt8]] = [
        "characters": Array(String(repeating: "aé€😀", count: 30_000).utf8),
        "bytes": (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ $0 >> 8) },
        "progress": Array((0...20_000).map { "\u{1B}[32m\($0)%\u{1B}[0m\r" }.joined().utf8),
        "continuations": [UInt8](repeating: 0x80, count: 50_000),
        "broken end": Array("ok €".utf8.dropLast()),
    ]

    @Test(arguments: texts.keys.sorted())
    func everyByteIsKeptAndNoCharacterIsParted(kind: String) async throws {
        let bytes = try #require(Self.texts[kind])
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker(slots: 2) { _ in
                for script in ["cat", "cat >&2", "dd bs=1009 status=none"] {
                    let id = try await queue.submit(command: ["sh", "-c", script]) {
                        $0.request.payload = ByteBuffer(bytes: bytes)
                    }
                    #expect(try await queue.ended(id).state == .completed)
                    let entries = try await queue.handle.readLog(id)
                    #expect(entries.flatMap { Array(buffer: $0.data) } == bytes)
                    guard kind == "characters" || kind == "progress" else { continue }
                    #expect(
                        entries.allSatisfy { String(validating: $0.data.readableBytesView, as: UTF8.self) != nil })
                }
            }
        }
    }

    @Test func aLineOfFiftyMegabytesIsCappedAndItsEndsAreKept() async throws {
        try await TestQueue.run(settings: quickSettings.merging(["lease_ms": 20_000]) { $1 }) { queue in
            try await queue.withWorker { _ in
                let script = "printf begin; head -c 50000000 /dev/zero | tr '\\0' x; printf end; exit 1"
                let id = try await queue.submit(command: ["sh", "-c", script])
                let task = try await queue.ended(id)
                #expect(task.failure?.message.utf8.count ?? 0 < 1000)
                let entries = try await queue.handle.readLog(id)
                let kept = entries.reduce(0) { $0 + $1.data.readableBytes }
                #expect((4_000_000...4_194_304 + 8192).contains(kept))
                #expect(entries.reduce(0) { $0 + $1.missingBytes } == 50_000_008 - kept)
                #expect(entries.first.map { String(buffer: $0.data).hasPrefix("beginx") } == true)
                #expect(entries.last.map { String(buffer: $0.data).hasSuffix("xend") } == true)
            }
        }
    }

    @Test(
        arguments: [
            (#"printf '10%%\r50%%\r\033[31mno disk\033[0m\n' >&2"#, "no disk"),
            (#"printf '\033]0;title\007fatal: \0here\n' >&2; echo out"#, "fatal: here"),
            (#"printf 'half done\r' ; printf '\033[0m\r\n'"#, "half done"),
            (#"head -c 300000 /dev/zero | tr '\0' x; printf '\nlast €\n'"#, "last €"),
            (#"printf '\033[2K\r \r'"#, nil),
        ] as [(String, String?)])
    func theFailureShowsTheLastLineAsATerminalDoes(script: String, line: String?) async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: ["bash", "-c", script + "; exit 4"])
                let message = try await queue.ended(id).failure?.message
                #expect(message == "the command ended with exit code 4" + (line.map { ": \($0)" } ?? ""))
            }
        }
    }
}
