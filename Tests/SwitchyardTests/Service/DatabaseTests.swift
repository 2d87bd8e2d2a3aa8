import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Queues of the same name in several databases of one server. Channels know no database, so their names contain it.
@Suite("Databases of one server", .serialized)
struct DatabaseTests {
    /// A queue in one database, with a replica and a worker.
    private struct Place {
        let client: RedisClient
        let replica: TaskScheduler
        let running: Task<Void, any Error>
        let worker: WorkerClient
        let control: RedisSubscription
        let keys: Keys
        let queue: TestQueue
        var handle: SchedulerHandle { queue.handle }

        static func make(_ database: Int, on redis: TestRedis) async throws -> Place {
            var configuration = redis.client.configuration
            configuration.database = database
            let client = RedisClient(configuration)
            let replica = try TaskScheduler(client: client, queues: ["q"], logger: .silent)
            let running = Task { try await replica.run() }
            #expect(try await eventually(within: .seconds(30)) { replica.health.current["q"]?.lastTick != nil })
            let functions = QueueFunctions(queue: "q", client: client, logger: .silent)
            let worker = try WorkerClient(worker: "w", functions: functions)
            _ = try await worker.register(WorkerClient.Registration(slots: 4))
            let control = try await client.subscribe(to: [functions.keys.control("w")])
            let handle = try SchedulerHandle(queue: "q", client: client, logger: .silent)
            return Place(
                client: client, replica: replica, running: running, worker: worker, control: control,
                keys: functions.keys, queue: TestQueue("q", handle: handle, on: redis))
        }

        func run(_ id: String) async throws {
            _ = try await handle.addTask(QueuedTask(BuildRequest(), id: id))
            #expect(try await worker.pull(max: 1, holding: 0).map(\.id) == [id])
        }

        func state(_ id: String) async throws -> TaskState { try await handle.getTask(id).state }

        func end() async {
            running.cancel()
            _ = await running.result
            await client.shutdown()
        }
    }

    private func withPlaces(_ databases: [Int], _ body: ([Place], TestRedis) async throws -> Void) async throws {
        try await TestRedis.run { redis in
            var places: [Place] = []
            for database in databases { places.append(try await Place.make(database, on: redis)) }
            try await body(places, redis)
            for place in places { await place.end() }
        }
    }

    @Test func theNamesInDatabaseZeroAreTheFixedOnes() {
        let keys = Keys(queue: "q")
        #expect(keys.reports == "switchyard:{q}:reports" && keys.results == "switchyard:{q}:results")
        #expect(keys.events == "switchyard:{q}:events" && keys.control("w") == "switchyard:{q}:control:w")
        let other = Keys(queue: "q", partition: 2, database: 3)
        #expect(other.reports == "switchyard:{q/2}:db3:reports")
        #expect(other.control("w") == "switchyard:{q/2}:db3:control:w")
        #expect(other.wake("w") == "switchyard:{q/2}:wake:w")
    }

    @Test(arguments: [[0, 3], [3, 0], [1, 12]])
    func anOrderReachesTheWorkerOfItsDatabaseOnly(databases: [Int]) async throws {
        try await withPlaces(databases) { places, _ in
            for place in places { try await place.run("t") }
            try await places[0].handle.cancelTask("t")
            try await places[0].handle.drainWorker("w")
            var orders = places[0].control.makeAsyncIterator()
            for expected in ["cancel t 1", "drain"] {
                let event = await orders.next()
                #expect(event == .message(channel: places[0].keys.control("w"), payload: ByteBuffer(string: expected)))
            }
            // The same cancel in the other place is the first message there.
            try await places[1].handle.cancelTask("t", reason: "later")
            var others = places[1].control.makeAsyncIterator()
            let event = await others.next()
            #expect(event == .message(channel: places[1].keys.control("w"), payload: ByteBuffer(string: "cancel t 1")))
            try await places[1].handle.drainWorker("w")
            #expect(
                await others.next()
                    == .message(channel: places[1].keys.control("w"), payload: ByteBuffer(string: "drain")))
        }
    }

    @Test(arguments: [[0, 3], [7, 2]])
    func aPublishedReportEndsTheTaskOfItsDatabaseOnly(databases: [Int]) async throws {
        try await withPlaces(databases) { places, redis in
            for place in places { try await place.run("t") }
            for place in places {
                // What a program in any language learns when it registers.
                let reply = try await place.client.send(
                    RedisCommand(
                        "FCALL", "switchyard_register", 2, .string(place.keys.prefix), .string(place.keys.config),
                        "worker", "other"))
                #expect(reply.pairs["channels"]?.string == place.keys.channels)
                let listeners = RedisCommand("PUBSUB", "NUMSUB", .string(place.keys.reports))
                #expect(try await redis.client.send(listeners).array?.last?.int == 1)
            }
            let report = #"{"worker":"w","task":"t","attempt":1,"outcome":"completed"}"#
            for (index, place) in places.enumerated() {
                let heard = try await redis.client.send(
                    RedisCommand("PUBLISH", .string(place.keys.reports), .string(report)))
                #expect(heard.int == 1)
                #expect(try await eventually(within: .seconds(30)) { try await place.state("t") == .completed })
                for other in places[(index + 1)...] { #expect(try await other.state("t") == .running) }
            }
        }
    }

    /// Who waits hears of the end by a message, not only by looking from time to time.
    @Test(arguments: [0, 5]) func whoWaitsHearsOfTheEnd(database: Int) async throws {
        try await withPlaces([database]) { places, _ in
            let place = places[0]
            let results = try await place.client.subscribe(to: [place.keys.results])
            try await place.run("t")
            _ = try await place.worker.finish(
                [WorkerClient.Report(taskID: "t", attempt: 1, outcome: .completed)], pull: 0, holding: 0)
            #expect(try await results.firstMessage(within: .seconds(30)) == "t completed 1")
        }
    }

    /// A database that was emptied, or exchanged with another, has the right names again after a tick.
    @Test(arguments: ["FLUSHDB", "SWAPDB"]) func theNamesAreCorrectedAfterAChange(command: String) async throws {
        try await withPlaces([0, 4]) { places, _ in
            for _ in 0..<2 {
                let arguments: [RedisArgument] = command == "SWAPDB" ? ["0", "4"] : []
                _ = try await places[1].client.send(RedisCommand(command, arguments))
                for (place, database) in zip(places, [0, 4]) {
                    let isRight = try await eventually(within: .seconds(30)) {
                        let found = RedisCommand("HGET", .string(place.keys.config), "database")
                        return try await place.client.send(found).int ?? 0 == database
                    }
                    #expect(isRight, "database \(database)")
                }
            }
        }
    }
}
