import Dispatch
import Foundation
import Synchronization

/// Handles Ctrl-C for commands that only watch and for commands that must clean up.
enum Interruption {
    /// What SIGINT makes the command say; nil: nothing.
    private static let line = Mutex<String?>(nil)
    /// Stays for as long as the process runs: a source that is cancelled takes the signals of the next one with it.
    private static let source = Mutex<(any DispatchSourceSignal)?>(nil)

    /// Runs `body`. On SIGINT, writes `message` (what continues without this command) to stderr and exits with 130.
    static func saying<Value>(_ message: @autoclosure () -> String, _ body: () async throws -> Value) async rethrows
        -> Value
    {
        let text = "\nswitchyard: \(message())\n"
        line.withLock { $0 = text }
        source.withLock { source in
            guard source == nil else { return }
            source = instead(of: SIGINT) {
                if let text = line.withLock({ $0 }) { try? Console.error.write(TerminalText.lines(text)) }
                // Nothing needs an orderly shutdown, and `exit` would race with the Swift tasks that still run.
                _exit(ExitStatus.interrupted.rawValue)
            }
        }
        defer { line.withLock { $0 = nil } }
        return try await body()
    }

    /// Runs `body`, in which something else handles the first SIGINT or SIGTERM. Calls `onRepetition` when a second one
    /// arrives.
    static func noticingRepetition<Value>(
        _ onRepetition: @escaping @Sendable () -> Void, _ body: () async throws -> Value
    ) async rethrows -> Value {
        let count = Mutex(0)
        let sources = [SIGINT, SIGTERM].map { number in
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                // One event may stand for several signals.
                let new = Int(source.data)
                let isRepetition = count.withLock { count in
                    defer { count += new }
                    return count < 2 && count + new >= 2
                }
                if isRepetition { onRepetition() }
            }
            source.resume()
            return source
        }
        defer { for source in sources { source.cancel() } }
        return try await body()
    }

    /// Runs `body`. SIGINT and SIGTERM cancel it, so that it cleans up; the same signal again ends the process.
    static func cancelling<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value
    {
        let work = Task { try await body() }
        let sources = [SIGINT, SIGTERM].map { number in
            instead(of: number) {
                signal(number, SIG_DFL)
                work.cancel()
            }
        }
        defer { for source in sources { source.cancel() } }
        return try await work.value
    }

    /// Calls `handler` when the signal arrives, which then does nothing else.
    private static func instead(of number: Int32, _ handler: @escaping @Sendable () -> Void)
        -> any DispatchSourceSignal
    {
        signal(number, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
        source.setEventHandler(handler: handler)
        source.resume()
        return source
    }
}
