import ChildProcess
import Foundation
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// A real `switchyard worker`: its flags, and the processes that its tasks leave behind.
@Suite(.serialized) struct WorkerProcessTests {
    /// Runs `body` while a worker serves the queue and a replica ticks it.
    private func withWorker(
        _ flags: [String], through wrapper: [String] = [], environment: [String: String] = [:],
        _ body: (TestQueue, Running) async throws -> Void
    ) async throws {
        try await TestQueue.run(settings: ["retry_delay_ms": 0, "heartbeat_ms": 200]) { queue in
            let scheduler = try TaskScheduler(client: queue.redis.client, queues: [queue.name], logger: TestRedis.quiet)
            let replica = Task { try await scheduler.run() }
            let worker = try await start(queue, "w", flags, through: wrapper, environment: environment)
            do {
                try await body(queue, worker)
            } catch {
                worker.process.signalGroup(SIGKILL)
                throw error
            }
            worker.process.signalGroup(SIGTERM)
            #expect(try await worker.end().exitCode == 0)
            replica.cancel()
            _ = await replica.result
        }
    }

    private func start(
        _ queue: TestQueue, _ id: String, _ flags: [String], through wrapper: [String] = [],
        environment: [String: String] = [:]
    ) async throws -> Running {
        let arguments = ["worker", "--redis", queue.redis.url, "--queue", queue.name, "--id", id] + flags
        var variables = ["PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp"]
        variables.merge(environment) { _, new in new }
        return Running(
            try await ChildProcess.start(
                .init(arguments: wrapper + [Tool.path] + arguments, environment: variables)))
    }

    private func submit(_ queue: TestQueue, _ script: String, timeout: Duration = .seconds(60)) async throws -> String {
        var request = BuildRequest()
        request.command = ["bash", "-c", script]
        var task = QueuedTask(request)
        task.maxRetries = 0
        task.timeout = timeout
        _ = try await queue.handle.addTask(task)
        return task.id
    }

    private func ended(_ queue: TestQueue, _ id: String) async throws -> QueuedTask {
        try await queue.handle.waitForTask(id, timeout: .seconds(40)) { $0.state.isTerminal }
    }

    private func log(_ queue: TestQueue, _ id: String) async throws -> String {
        try await queue.handle.readLog(id).map { String(buffer: $0.data) }.joined()
    }

    /// The state letters of the children of a process.
    private func children(of parent: Int32) throws -> [Character] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { Int32($0) != nil }.compactMap { name in
            // The process may have ended since.
            guard let stat = try? String(contentsOfFile: "/proc/\(name)/stat", encoding: .utf8) else { return nil }
            let fields = stat.split(separator: ")").last?.split(separator: " ") ?? []
            return fields.count > 1 && fields[1] == "\(parent)" ? fields[0].first : nil
        }
    }

    @Test func theFlagsReachTheTask() async throws {
        let workdir = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString)").path
        let flags = [
            "--pass-env", "GIVEN", "CI_*", "--env", "A=b=c", "--env", "EMPTY=", "--workdir", workdir, "--keep-failed",
        ]
        let own = ["GIVEN": "1", "CI_JOB": "2", "SECRET": "3", "TZ": "Asia/Tokyo", "http_proxy": "p", "LC_ALL": "C"]
        try await withWorker(flags, environment: own) { queue, _ in
            let id = try await submit(queue, "env; pwd; exit 3")
            #expect(try await ended(queue, id).exitCode == 3)
            let lines = Set(try await log(queue, id).split(separator: "\n").map(String.init))
            #expect(
                lines.isSuperset(of: [
                    "GIVEN=1", "CI_JOB=2", "TZ=Asia/Tokyo", "http_proxy=p", "LC_ALL=C", "A=b=c", "EMPTY=",
                ]))
            #expect(!lines.contains { $0.hasPrefix("SECRET=") })
            let kept = try FileManager.default.contentsOfDirectory(atPath: workdir)
            #expect(kept.count == 1)
            #expect(lines.contains("\(workdir)/\(kept.first ?? "")/work"))
        }
        try FileManager.default.removeItem(atPath: workdir)
    }

    @Test func theGraceIsAFlag() async throws {
        let script = #"trap "" TERM; echo up; while :; do sleep 0.02; done"#
        for (grace, range) in [("0.1", 0.0...2.0), ("3", 2.5...9.0)] {
            try await withWorker(["--grace", grace]) { queue, worker in
                let id = try await submit(queue, script + " # \(grace)")
                _ = try await Tool.eventually("the task runs") { try await log(queue, id) == "up\n" ? true : nil }
                try await queue.handle.cancelTask(id)
                let start = ContinuousClock.now
                _ = try await Tool.eventually("the task's process has ended") {
                    // The guardian is the only child left.
                    try children(of: worker.process.processID).filter { $0 != "Z" }.count == 1 ? true : nil
                }
                #expect(range.contains((ContinuousClock.now - start) / .seconds(1)))
            }
        }
    }

    @Test(arguments: [
        ["--grace", "-1"], ["--linger", "4000"], ["--env", "=x"], ["--env", "x"], ["--pass-env", "A=b"],
        ["--pass-env", "A*B"], ["--keep-failed"],
    ])
    func badFlagsAreRefused(flags: [String]) async throws {
        let output = try await Tool.run(["worker", "--redis", "unix:///nowhere"] + flags)
        #expect(output.exitCode == 64)
        #expect(output.stderr.contains(flags[0]))
    }

    @Test func nothingThatATaskLeavesBehindStaysAZombie() async throws {
        try await withWorker(["--slots", "3"]) { queue, worker in
            // Each child starts a grandchild and ends at once.
            let forks = "for i in $(seq 60); do (setsid sleep 0.05 >/dev/null 2>&1 &) ; done; sleep 0.3; echo done"
            var ids: [String] = []
            for number in 0..<3 { ids.append(try await submit(queue, forks + " # \(number)")) }
            for id in ids { #expect(try await ended(queue, id).state == .completed) }
            _ = try await Tool.eventually("no zombie is left") {
                try children(of: worker.process.processID).contains("Z") ? nil : true
            }
            #expect(try children(of: worker.process.processID).count == 1)
        }
    }

    @Test func daemonsEndWithTheirTaskAndWithNoOther() async throws {
        try await withWorker(["--slots", "2"]) { queue, _ in
            // A daemon with a session of its own, whose parent has ended, and a child of it.
            let daemon = #"""
                setsid bash -c 'trap "" TERM HUP; sleep 1000 >/dev/null 2>&1 & echo $! $$; exec >/dev/null 2>&1; wait' &
                sleep 0.3
                """#
            let long = try await submit(queue, daemon + "\nuntil [ -e $HOME/$SWITCHYARD_TASK_ID ]; do sleep 0.05; done")
            func pids(_ id: String) async throws -> [Int32] {
                let text = try await Tool.eventually("the daemon runs") { () -> String? in
                    let text = try await log(queue, id)
                    return text.contains("\n") ? text : nil
                }
                return text.split { !$0.isNumber }.compactMap { Int32($0) }
            }
            let others = try await pids(long)
            #expect(others.count == 2)
            for ending in ["exit 0", "exit 1", "kill -9 $$"] {
                let id = try await submit(queue, daemon + "\n" + ending)
                let own = try await pids(id)
                #expect(own.count == 2)
                _ = try await ended(queue, id)
                _ = try await Tool.eventually("the daemon has ended") { own.contains(where: Tool.isAlive) ? nil : true }
                #expect(others.allSatisfy(Tool.isAlive))
            }
            let flag = "/tmp/\(long)"
            FileManager.default.createFile(atPath: flag, contents: nil)
            #expect(try await ended(queue, long).state == .completed)
            _ = try await Tool.eventually("the daemon has ended") { others.contains(where: Tool.isAlive) ? nil : true }
            try FileManager.default.removeItem(atPath: flag)
        }
    }

    @Test func aWorkerWithoutDescriptorsFailsNoTask() async throws {
        // Redis, epoll and the like take about 15 descriptors; a task takes four.
        let few = ["bash", "-c", "ulimit -n 64; exec \"$0\" \"$@\""]
        try await withWorker(["--slots", "100"], through: few) { queue, worker in
            let good = try await start(queue, "good", ["--slots", "4"])
            var ids: [String] = []
            for number in 0..<100 { ids.append(try await submit(queue, "sleep 0.2 # \(number)")) }
            for id in ids {
                let task = try await ended(queue, id)
                #expect(task.state == .completed, "\(task.failure?.message ?? "")")
            }
            #expect(worker.stderr.contains("Too many open files"))
            #expect(worker.stderr.contains("takes no tasks for a while"))
            good.process.signalGroup(SIGTERM)
            #expect(try await good.end().exitCode == 0)
        }
    }

    /// A limit on the size of files stands for a full disk: the write fails.
    @Test func aFullDiskOfTheLogFilesIsToldAndFailsNoTask() async throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("switchyard-\(UUID().uuidString)")
        // Only the directory of this test is left if it cannot be removed.
        defer { try? FileManager.default.removeItem(at: directory) }
        let limited = ["/bin/sh", "-c", "ulimit -f 64 && exec \"$0\" \"$@\""]
        try await withWorker(["--log-dir", directory.path, "--slots", "2"], through: limited) { queue, worker in
            for _ in 0..<3 {
                let id = try await submit(queue, "head -c 200000 /dev/zero | tr '\\0' x; echo; echo end")
                #expect(try await ended(queue, id).state == .completed)
                let log = try await log(queue, id)
                #expect(log.contains("[switchyard: cannot write to \(directory.path)/\(id).1.log: File too large; "))
                #expect(log.hasSuffix("end\n"))
                #expect(log.count { $0 == "x" } >= 200_000)
                let attributes = try FileManager.default.attributesOfItem(atPath: "\(directory.path)/\(id).1.log")
                #expect((attributes[.size] as? Int ?? 0) <= 64 * 1024)
            }
            #expect(worker.stderr.contains("an attempt's log file is not complete"))
        }
    }

    @Test func hooksAreFlags() async throws {
        let flags = ["--before", "echo before; test ! -e /nowhere", "--after", "echo \"after $SWITCHYARD_EXIT\""]
        try await withWorker(flags) { queue, _ in
            let id = try await submit(queue, "echo now; exit 6")
            #expect(try await ended(queue, id).exitCode == 6)
            #expect(try await log(queue, id) == "before\nnow\nafter 6\n")
        }
        for flag in ["--before", "--after"] {
            #expect(throws: (any Error).self) { try SwitchyardCommand.parseAsRoot(["worker", flag, ""]) }
        }
    }
}
