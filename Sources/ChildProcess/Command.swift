extension ChildProcess {
    /// The program to start. It inherits only what is named here: no other variable, descriptor or signal setting.
    public struct Command: Sendable {
        /// argv. The first is a path with a slash, or a name that is looked up in the PATH of `environment`.
        public var arguments: [String]
        /// The complete environment of the child.
        public var environment: [String: String]
        /// The working directory; nil: that of our process.
        public var workingDirectory: String?
        /// What the child reads from stdin.
        public var standardInput: StandardInput
        /// Descriptors of our process that stay open in the child, under the same numbers (such as a shared lock).
        public var inheritedDescriptors: [Int32]
        /// How long the rest of the group may go on when its leader has ended, as long as a process holds the output
        /// open. Zero: it is killed at once.
        public var linger: Duration = .zero
        /// Names of variables of `environment` whose values, together, no other child has. If this process adopts
        /// orphans (``ChildProcess/adoptOrphans()``), a process that left the group and still has these variables is
        /// killed when the group is.
        public var marks: [String] = []

        /// What the child reads from stdin.
        public enum StandardInput: Sendable {
            /// `/dev/null`.
            case null
            /// The bytes, then end of file. A child that does not read them all is no error.
            case bytes([UInt8])
        }

        /// Creates a command; the default environment is empty.
        public init(
            arguments: [String], environment: [String: String] = [:], workingDirectory: String? = nil,
            standardInput: StandardInput = .null, inheritedDescriptors: [Int32] = []
        ) {
            self.arguments = arguments
            self.environment = environment
            self.workingDirectory = workingDirectory
            self.standardInput = standardInput
            self.inheritedDescriptors = inheritedDescriptors
        }

        var program: String { arguments.first ?? "" }

        /// The marks as they stand in an environment; empty if one of the variables is not set.
        var markEntries: [String] {
            let entries = marks.compactMap { name in environment[name].map { "\(name)=\($0)" } }
            return entries.count == marks.count ? entries : []
        }
    }

    /// The stream that a child wrote to.
    public enum OutputStream: String, Sendable, Hashable {
        /// Standard output (1).
        case stdout
        /// Standard error (2).
        case stderr
    }

    /// Output of a child that was read at once.
    public struct OutputChunk: Sendable, Hashable {
        /// The stream that the child wrote to.
        public let stream: OutputStream
        /// The bytes, at most 64 KiB when read from a child.
        public let bytes: [UInt8]

        /// Creates a chunk.
        public init(stream: OutputStream, bytes: [UInt8]) {
            self.stream = stream
            self.bytes = bytes
        }
    }

    /// How a child ended. Exactly one of `exitCode` and `signal` is set; neither if other code in our process reaped
    /// the child (SIGCHLD is ignored, or a `wait` for any child) and so took its status.
    public struct ExitStatus: Sendable, Hashable {
        /// The code with which the child exited.
        public let exitCode: Int32?
        /// The signal that ended the child.
        public let signal: Int32?
        /// The time from fork until the end of the child.
        public let duration: Duration
        /// User time in seconds, of the child and of its descendants that were waited for.
        public let userTime: Double
        /// System time in seconds, of the same processes.
        public let systemTime: Double
        /// The largest resident memory of any one of these processes.
        public let maxResidentBytes: Int64

        /// Whether the exit code is 0.
        public var isSuccess: Bool { exitCode == 0 }
    }
}

extension ChildProcess.ExitStatus: CustomStringConvertible {
    /// `exit code 1` or `signal 9`.
    public var description: String {
        if let exitCode { return "exit code \(exitCode)" }
        if let signal { return "signal \(signal)" }
        return "unknown exit status"
    }
}
