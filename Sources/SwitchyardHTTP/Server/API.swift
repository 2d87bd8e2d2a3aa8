import Hummingbird
import Logging
import Switchyard

/// What every route needs.
struct API: Sendable {
    let scheduler: TaskScheduler
    let options: HTTPServerOptions
    let logger: Logger
    let settings: SettingsCache
    let bodies: BodyTimer
    let followers: FollowerLimit

    init(scheduler: TaskScheduler, options: HTTPServerOptions, logger: Logger) {
        self.scheduler = scheduler
        self.options = options
        self.logger = logger
        self.settings = SettingsCache()
        self.bodies = BodyTimer(timeout: options.bodyTimeout)
        self.followers = FollowerLimit(options.maxLogFollowers)
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

    /// A handle on the queue that a request is about; looking at a queue does not create it.
    func handle(_ query: Query) throws -> SchedulerHandle {
        try scheduler.handle(queue: query["queue"] ?? options.defaultQueue)
    }

    /// The queues that a request without `?queue=` is about: those this replica looks after.
    func handles(_ query: Query) throws -> [SchedulerHandle] {
        if let queue = query["queue"] { return [try scheduler.handle(queue: queue)] }
        return try scheduler.queues.map { try scheduler.handle(queue: $0) }
    }
}
