import ChildProcess
import Logging

/// The processes that lost their parent below a process that runs tasks, or that runs workers.
enum Orphans {
    /// Makes this process their parent, which reaps them, also as process 1 of a container.
    static func adopt(logger: Logger) {
        do {
            try ChildProcess.adoptOrphans()
        } catch {
            logger.warning(
                "processes that leave the group of their task will not end with it", metadata: ["error": "\(error)"])
        }
    }
}
