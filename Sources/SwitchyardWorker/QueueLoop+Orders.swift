import Logging
import NIOCore
import RedisClient
import Switchyard

// What a worker hears from the scheduler: wake-ups, the replies to its heartbeats, and its control channel.

extension QueueLoop {
    /// How long it sleeps before it looks by itself. A connection that breaks meanwhile makes it look at once.
    private static let wakeTimeout: Duration = .seconds(30)

    func listenForWakeUps() async {
        if isSpread { await listen() } else { await sleepAndWake() }
    }

    /// Sleeps whenever there is nothing else to do, and wakes up with tasks.
    private func sleepAndWake() async {
        while let sleep = await table.nextSleep() {
            do {
                let awakening = try await link.sleepAndPull(
                    timeout: Self.wakeTimeout, max: sleep.want, holding: sleep.holding, together: takesTogether)
                start(table.wakeUp(sleep, awakening.assignments))
                // A courier says it again, and does what is to be done about it.
                if awakening.refusal != nil { table.noteWork() }
            } catch {
                // The wake-up, or what came after it, may have been lost with the connection: a courier looks.
                table.breakSleep()
                if Task.isCancelled { return }
                logger.debug("cannot wait for wake-ups", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
        }
    }

    /// Ends the sleep of a worker that drains. What it may bring still is run.
    func endSleep() async {
        while table.isSleeping {
            do {
                let list = link.functions.keys.wake(link.worker)
                _ = try await link.functions.client.send(RedisCommand("LPUSH", .string(list), "1"))
                return
            } catch {
                if Task.isCancelled { return }
                logger.debug("cannot end the sleep", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
        }
    }

    /// With several partitions the slots are shared: none of them can say before it sleeps how many are free when it wakes up.
    private func listen() async {
        while !Task.isCancelled, !table.isDraining {
            do {
                if try await link.waitForWakeUp(timeout: Self.wakeTimeout) {
                    table.noteWakeUp()
                    continue
                }
            } catch {
                if Task.isCancelled { return }
                logger.debug("cannot wait for wake-ups", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
            // After a failure too: the wake-up may have been lost with the connection.
            table.noteWork()
        }
    }

    func beat(every interval: Duration) async {
        var interval = interval
        while (try? await Task.sleep(for: interval)) != nil {
            do {
                let orders = try await link.heartbeat(table.held)
                interval = orders.terms.heartbeat
                if orders.drain { drain() }
                if let found = orders.partitions, let error = partitions.mismatch(found, link.functions) {
                    refuse(error)
                }
                for stop in orders.stop { self.stop(stop.taskID, attempt: stop.attempt) }
            } catch let error as SchedulerError where error.isReplacement {
                for attempt in table.held { stop(attempt.taskID, attempt: attempt.attempt) }
                stopForReplacement(error)
            } catch SchedulerError.workerNotFound {
                logger.warning("this worker was taken for lost, and registers again")
                for attempt in table.held { stop(attempt.taskID, attempt: attempt.attempt) }
                await register()
                table.noteWork()
            } catch {
                if Task.isCancelled { return }
                logger.warning("a heartbeat failed", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Its messages come sooner than the heartbeat's reply, which tells the same for certain.
    func obeyControlChannel() async {
        do {
            let channel = link.functions.keys.control(link.worker)
            for await event in try await link.functions.client.subscribe(to: [channel]) {
                guard case .message(_, let payload) = event else { continue }
                let words = String(buffer: payload).split(separator: " ").map(String.init)
                switch (words.first, words.count) {
                case ("cancel", 3), ("timeout", 3):
                    if let attempt = Int(words[2]) { stop(words[1], attempt: attempt) }
                case ("drain", 1):
                    drain()
                default:
                    logger.debug("unknown message on the control channel", metadata: ["message": "\(words)"])
                }
            }
        } catch {
            logger.debug("cannot subscribe to the control channel", metadata: ["error": "\(error)"])
        }
    }

    private func stop(_ taskID: String, attempt: Int) {
        if table.stop(taskID, attempt: attempt, .notOurs) {
            logger.info("an attempt is stopped", metadata: ["task_id": "\(taskID)", "attempt": "\(attempt)"])
        }
    }
}
