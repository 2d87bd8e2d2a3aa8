import Glibc
import ServiceLifecycle

extension ServiceGroupConfiguration {
    /// Lets SIGINT and SIGTERM end the services gracefully, and SIGHUP, which comes when the terminal is closed.
    ///
    /// A process that started with SIGHUP ignored (`nohup`) is to outlive its terminal, and goes on ignoring it.
    mutating func endOnSignals() {
        gracefulShutdownSignals = [.sigint, .sigterm]
        var action = sigaction()
        let isIgnored =
            sigaction(SIGHUP, nil, &action) == 0
            && unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1  // SIG_IGN
        if !isIgnored { gracefulShutdownSignals.append(.sighup) }
    }
}
