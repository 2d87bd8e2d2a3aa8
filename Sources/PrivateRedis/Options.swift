import ChildProcess
import Logging

extension PrivateRedisServer {
    public struct Options: Sendable {
        /// Where the data lives. Nil: a temporary directory, removed at `stop`.
        public var directory: String?
        /// Nothing is written to disk.
        public var ephemeral: Bool
        public var appendfsync: AppendFsync
        /// A path, or a name looked up in our PATH.
        public var executable: String
        /// Appended to the command line; they win over redis.conf.
        public var extraArguments: [String]
        /// How long redis-server may be silent at its start. While it answers LOADING it may take `loadTimeout`.
        public var startTimeout: Duration
        public var loadTimeout: Duration
        public var logger: Logger

        public init(
            directory: String? = nil, ephemeral: Bool = false, appendfsync: AppendFsync = .everysec,
            executable: String = "redis-server", extraArguments: [String] = [],
            startTimeout: Duration = .seconds(30), loadTimeout: Duration = .seconds(600),
            logger: Logger = Logger(label: "switchyard.redis")
        ) {
            self.directory = directory
            self.ephemeral = ephemeral
            self.appendfsync = appendfsync
            self.executable = executable
            self.extraArguments = extraArguments
            self.startTimeout = startTimeout
            self.loadTimeout = loadTimeout
            self.logger = logger
        }
    }

    public enum AppendFsync: String, Sendable, CaseIterable {
        case everysec, always

        var explanation: String {
            switch self {
            case .everysec:
                "Flushed to the\n# disk once a second: the end of redis-server loses nothing, a power cut at most that second."
            case .always: "Flushed to the\n# disk before each answer: slower, and a power cut loses nothing."
            }
        }
    }

    /// An end of redis-server that nobody asked for.
    public struct Exit: Sendable {
        public enum Reaction: Sendable, Equatable {
            case restarting(after: Duration)
            /// Too many ends in a short time; it stays down until `restart`.
            case gaveUp
        }
        public let processID: Int32
        /// Nil: it did not even start.
        public let status: ChildProcess.ExitStatus?
        public let reaction: Reaction
        /// What it last logged, or why it did not start.
        public let detail: String
    }
}
