import Hummingbird
import Logging
import Switchyard

/// What the routes share: the scheduler, the options, a cache of settings, and the limits on bodies and followers.
struct API: Sendable {
    let scheduler: TaskScheduler
    let options: HTTPServerOptions
    let logger: Logger
    let settings: SettingsCache
    let bodies: BodyTimer
    let largeBodies: LargeBodies
    let followers: FollowerLimit
    let connections: Connections

    init(scheduler: TaskScheduler, options: HTTPServerOptions, logger: Logger) {
        self.scheduler = scheduler
        self.options = options
        self.logger = logger
        self.settings = SettingsCache()
        self.bodies = BodyTimer(timeout: options.bodyTimeout)
        self.connections = Connections(
            .init(most: options.maxConnections, openFiles: Connections.openFileLimit))
        self.largeBodies = LargeBodies(patience: options.largeBodyPatience)
        self.followers = FollowerLimit(min(options.maxLogFollowers, connections.limits.followers))
    }

    var routes: Routes {
        var routes = Routes()
        addDashboard(to: &routes)
        addSubmission(to: &routes)
        addTasks(to: &routes)
        addLogs(to: &routes)
        addBatches(to: &routes)
        addStats(to: &routes)
        addWorkers(to: &routes)
        addQueues(to: &routes)
        addSchedules(to: &routes)
        addOrion(to: &routes)
        addHealth(to: &routes)
        return routes
    }

    /// Returns a handle of the queue that `?queue=` names, or of the default queue. Does not create the queue.
    func handle(_ query: Query) throws -> SchedulerHandle {
        try scheduler.handle(queue: query["queue"] ?? options.defaultQueue)
    }

    /// Returns a handle of the queue that `?queue=` names, or handles of all queues that this replica serves.
    func handles(_ query: Query) throws -> [SchedulerHandle] {
        if let queue = query["queue"] { return [try scheduler.handle(queue: queue)] }
        return try scheduler.queues.map { try scheduler.handle(queue: $0) }
    }
}
