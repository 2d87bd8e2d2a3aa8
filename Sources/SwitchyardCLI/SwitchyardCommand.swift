import ArgumentParser
import Foundation
import Switchyard

/// The `switchyard` command. Its subcommands are in `Verbs/`: `worker` in RunWorker.swift, `config` in
/// ShowConfig.swift, `torture` in RunTorture.swift, `wait` in WaitForTasks.swift, those of `queue` in Queue.swift and
/// EmptyQueue.swift, each other in a file of its name.
///
/// A subcommand returns (exit code 0) or throws a ``Failure``, which carries any other exit code and a message for
/// stderr. ArgumentParser reports usage errors itself and exits with 64.
@main
struct SwitchyardCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "switchyard",
        abstract: "A task scheduler on Redis.",
        discussion: """
            Start everything on one machine with `switchyard dev`, then try `switchyard submit --wait -- echo hello`.

            Exit codes: 0 ok, 1 error, 2 task failed, 3 task timed out, 4 task cancelled, 5 not found, 6 queue full, \
            7 no workers, 8 exists or wrong state, 64 bad usage or input, 69 server or Redis unreachable, \
            130 interrupted.
            """,
        version: "0.1.0, function library \(FunctionLibrary.version)",
        groupedSubcommands: [
            CommandGroup(name: "Run", subcommands: [Dev.self, Serve.self, RunWorker.self]),
            CommandGroup(
                name: "Tasks",
                subcommands: [
                    Submit.self, Get.self, List.self, WaitForTasks.self, Logs.self, Cancel.self, Retry.self,
                    Explain.self,
                ]),
            CommandGroup(
                name: "Operate",
                subcommands: [
                    Stats.self, Top.self, Workers.self, Queue.self, Schedule.self, Autoscale.self,
                ]),
            CommandGroup(
                name: "Look inside", subcommands: [Doctor.self, Bench.self, RunTorture.self, ShowConfig.self]),
        ])

    static func main() async {
        Allocator.limitArenas()
        do {
            try ArgumentBytes.check()
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            guard let failure = Failure(error) else { exit(withError: error) }
            failure.end()
        }
    }
}
