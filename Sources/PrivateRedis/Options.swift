import ChildProcess
import Logging

extension PrivateRedisServer {
    /// How to run redis-server.
    public struct Options: Sendable {
        /// The data directory. Nil: a temporary directory, removed at `stop`.
        public var directory: String?
        /// Whether redis-server writes no data to disk.
        public var ephemeral: Bool
        /// When redis-server flushes its append-only file to disk.
        public var appendfsync: AppendFsync
        /// A path, or a name that is looked up in our PATH.
        public var executable: String
        /// Arguments at the end of the command line; they override redis.conf.
        public var extraArguments: [String]
        /// How long redis-server may start without a reply to PING. A LOADING reply starts this time again.
        public var startTimeout: Duration
        /// How long redis-server may start in all, including the time in which it replies LOADING.
        public var loadTimeout: Duration
        /// Logs the starts and ends of redis-server.
        public var logger: Logger

        /// Creates options; the defaults keep the data in a temporary directory.
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

    /// When redis-server flushes its append-only file to disk.
    public enum AppendFsync: String, Sendable, CaseIterable {
        /// Once a second, in the background.
        case everysec
        /// Before each reply.
        case always

        /// The end of a comment in redis.conf, whose lines start with `#`.
        var explanation: String {
            switch self {
            case .everysec:
                "The file is\n# flushed to disk once a second: a crash of redis-server loses nothing, a power failure "
                    + "about a second."
            case .always: "The file is\n# flushed to disk before each reply: slower, but a power failure loses nothing."
            }
        }
    }

    /// An unexpected end of redis-server.
    public struct Exit: Sendable {
        /// What happens after the end.
        public enum Reaction: Sendable, Equatable {
            /// redis-server is restarted after this backoff.
            case restarting(after: Duration)
            /// redis-server ended too often in a short time; it stays down until `restart`.
            case gaveUp
        }
        /// The process that ended; 0 if redis-server could not be restarted.
        public let processID: Int32
        /// How the process ended; nil if redis-server could not be restarted.
        public let status: ChildProcess.ExitStatus?
        /// What happens next.
        public let reaction: Reaction
        /// The last lines of its log, or why it could not be restarted.
        public let detail: String
    }
}
