import CChildProcess
import Glibc

/// Why a program did not start. No process and no open descriptor is left of the attempt.
public struct ChildProcessError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What failed.
    public enum Reason: Sendable, Hashable {
        /// The program could not be executed: missing, not executable, not a program.
        case program
        /// The working directory could not be entered.
        case workingDirectory(String)
        /// The command cannot be passed to the system (no program named, a NUL byte in an argument).
        case invalidCommand(String)
        /// A system call failed: descriptors, processes or memory are exhausted, or the kernel lacks the call. `what`
        /// names it.
        case system(what: String)
        /// ``ChildProcess/limit`` children run already.
        case tooMany
    }

    /// argv[0] as given.
    public let program: String
    /// What failed.
    public let reason: Reason
    /// The errno value; 0 if none applies.
    public let code: Int32

    /// The program, what failed and the system's reason.
    public var description: String {
        switch reason {
        case .program where code == ENOEXEC:
            """
            \(program): \(errnoText(code)): it is not a program for this machine. If it is a script, its first line \
            must name what runs it, such as #!/bin/sh
            """
        case .program: "\(program): \(errnoText(code))"
        case .workingDirectory(let path): "\(program): working directory \(path): \(errnoText(code))"
        case .invalidCommand(let text): "\(program): \(text)"
        case .system(let what): "\(program): \(what): \(errnoText(code))"
        case .tooMany: "\(program): \(ChildProcess.limit) child processes run already"
        }
    }

    /// Whether the program does not exist: the user may have to install it.
    public var isProgramMissing: Bool { reason == .program && code == ENOENT }
}

extension ChildProcessError {
    /// Creates the error from the report of a child that failed between fork and exec.
    init(_ failure: sw_spawn_failure, command: ChildProcess.Command) {
        program = command.program
        code = failure.error
        switch UInt32(bitPattern: failure.stage) {
        case SW_STAGE_PROGRAM.rawValue: reason = .program
        case SW_STAGE_DIRECTORY.rawValue: reason = .workingDirectory(command.workingDirectory ?? "")
        case SW_STAGE_GROUP.rawValue: reason = .system(what: "setsid")
        case SW_STAGE_GUARDIAN.rawValue: reason = .system(what: "the guardian process is gone")
        case 0: reason = .system(what: "epoll_ctl")
        default: reason = .system(what: "standard input, output or an inherited descriptor")
        }
    }
}

/// Returns the text of an errno value.
func errnoText(_ code: Int32) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
