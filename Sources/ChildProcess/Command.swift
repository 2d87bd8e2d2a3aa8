extension ChildProcess {
    /// What to start. Nothing is inherited that is not named here: no variable, no descriptor, no signal setting.
    public struct Command: Sendable {
        /// argv. The first is an absolute path, or a name looked up in the PATH of `environment`.
        public var arguments: [String]
        /// The complete environment of the child.
        public var environment: [String: String]
        /// Nil: ours.
        public var workingDirectory: String?
        public var standardInput: StandardInput
        /// Descriptors of ours that the child holds too, under the same numbers (a lock that it shall share).
        public var inheritedDescriptors: [Int32]

        public enum StandardInput: Sendable {
            case null
            /// Written as fast as the child reads, then closed. A child that does not read is no error.
            case bytes([UInt8])
        }

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
    }

    public enum OutputStream: String, Sendable, Hashable {
        case stdout, stderr
    }

    public struct OutputChunk: Sendable, Hashable {
        public let stream: OutputStream
        public let bytes: [UInt8]

        public init(stream: OutputStream, bytes: [UInt8]) {
            self.stream = stream
            self.bytes = bytes
        }
    }

    /// How a child ended. Exactly one of `exitCode` and `signal` is set; neither if someone else in this process
    /// reaped the child (SIGCHLD ignored, a `wait` for any child) and took its status.
    public struct ExitStatus: Sendable, Hashable {
        public let exitCode: Int32?
        public let signal: Int32?
        /// From fork to the end.
        public let duration: Duration
        /// Seconds of processor time of the child and of those of its children that it waited for.
        public let userTime: Double
        public let systemTime: Double
        /// The largest resident memory of any one process among them.
        public let maxResidentBytes: Int64

        public var isSuccess: Bool { exitCode == 0 }
    }
}

extension ChildProcess.ExitStatus: CustomStringConvertible {
    public var description: String {
        if let exitCode { return "exit code \(exitCode)" }
        if let signal { return "signal \(signal)" }
        return "unknown exit status"
    }
}
