import Logging
import NIOCore
import RedisClient
import Switchyard

// What the scheduler sends to a worker: wake-ups, the replies to its heartbeats, and messages on its control channel.

extension QueueLoop {
    /// How long the worker waits for a wake-up before it pulls without one. After a broken connection it pulls at once.
    private static let wakeTimeout: Duration = .seconds(30)

    /// Waits for wake-ups until the worker drains or the task is cancelled.
    func listenForWakeUps() async {
        if isSpread { await listen() } else { await sleepAndWake() }
    }

    /// Sleeps whenever there is nothing else to do. The sleep and the pull that follows it are one round trip.
    private func sleepAndWake() async {
        while let sleep = await table.nextSleep() {
            do {
                let awakening = try await link.sleepAndPull(
                    timeout: Self.wakeTimeout, max: sleep.want, together: takesTogether)
                start(table.wakeUp(sleep, awakening.assignments))
                // A poller's call gets the same refusal, and handles it.
                if awakening.refusal != nil { table.noteWork() }
            } catch {
                // The wake-up, or the reply to the pull, may have been lost with the connection: a poller calls.
                table.breakSleep(sleep)
                if Task.isCancelled { return }
                logger.debug("cannot wait for wake-ups", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
        }
    }

    /// Ends the sleep of a worker that drains. Tasks that the sleep still brings are run.
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

    /// Waits for wake-ups without pulling. Several partitions share the slots, so before a sleep none of them knows how
    /// many slots are free after it.
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
            // Also after a failure, because the wake-up may have been lost with the connection.
            table.noteWork()
        }
    }

    /// Sends heartbeats, which renew the leases, and obeys their replies. Each reply also sets the next interval.
    func sendHeartbeats(every interval: Duration) async {
        var interval = interval
        while (try? await Task.sleep(for: interval)) != nil {
            do {
                let orders = try await link.heartbeat(table.leased.map { ($0.id.taskID, $0.id.number, $0.progress) })
                interval = orders.terms.heartbeat
                if orders.drain { drain() }
                if let found = orders.partitions, let error = partitions.mismatch(found, link.functions) {
                    refuse(error)
                }
                for stop in orders.stop { self.stop(stop.taskID, attempt: stop.attempt) }
            } catch let error as SchedulerError where error.isReplacement {
                for attempt in table.leased { stop(attempt.id.taskID, attempt: attempt.id.number) }
                stopForReplacement(error)
            } catch SchedulerError.workerNotFound {
                logger.warning("the queue counted this worker as lost; it registers again")
                for attempt in table.leased { stop(attempt.id.taskID, attempt: attempt.id.number) }
                await register()
                table.noteWork()
            } catch {
                if Task.isCancelled { return }
                logger.warning("heartbeat failed", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Obeys the messages on the control channel. A message may be lost, but arrives sooner than the heartbeat's reply,
    /// which repeats the same orders.
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
            logger.info("stopping an attempt", metadata: ["task_id": "\(taskID)", "attempt": "\(attempt)"])
        }
    }
}
