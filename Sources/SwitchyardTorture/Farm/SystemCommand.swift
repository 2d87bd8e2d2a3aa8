import ChildProcess
import Foundation

/// A command of the operating system, such as `ip` or `mount`, that ends soon.
enum SystemCommand {
    /// Runs it.
    /// - Throws: ``TortureError`` with what it printed, if it cannot be started or fails.
    static func run(_ arguments: String...) async throws {
        let command = ChildProcess.Command(arguments: arguments, environment: ProcessInfo.processInfo.environment)
        let process: ChildProcess
        do {
            process = try await ChildProcess.start(command)
        } catch {
            throw TortureError("\(arguments.joined(separator: " ")): \(error)")
        }
        var output = ""
        for await chunk in process.output { output += String(decoding: chunk.bytes, as: UTF8.self) }
        let status = await process.waitForExit()
        guard status.exitCode == 0 else {
            throw TortureError("\(arguments.joined(separator: " ")): \(status): \(output.prefix(300))")
        }
    }
}
