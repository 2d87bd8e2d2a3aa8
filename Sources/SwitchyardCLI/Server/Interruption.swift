import Dispatch
import Foundation

/// Ctrl-C while a command only watches: it says what goes on without it, and exits with 130.
enum Interruption {
    /// Runs `body`; if SIGINT comes meanwhile, writes `message` to stderr and ends the process.
    static func saying<Value>(_ message: @autoclosure () -> String, _ body: () async throws -> Value) async rethrows
        -> Value
    {
        let line = "\nswitchyard: \(message())\n"
        signal(SIGINT, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
        source.setEventHandler {
            try? Console.error.write(line)
            // Nothing of ours needs an orderly end, and `exit` would race with the tasks that still run.
            _exit(ExitStatus.interrupted.rawValue)
        }
        source.resume()
        defer {
            source.cancel()
            signal(SIGINT, SIG_DFL)
        }
        return try await body()
    }
}
