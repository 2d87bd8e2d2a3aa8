import NIOCore

// How calls find their node: to the primary of the slot, and further as the nodes say.

extension Cluster {
    /// How long a call waits for a connection before it looks again which node has its slot.
    private static let connectSlice: TimeAmount = .seconds(1)
    /// How many times in a row a call is sent elsewhere at once. If nodes disagree for longer, it pauses between.
    private static let redirectionsInARow = 3

    /// Sends one command, and returns its reply, which may be an error value.
    func send(
        _ command: RedisCommand, limit: TimeLimit, traffic: RedisClient.Traffic
    ) async throws -> RESPValue {
        try await routed(command.slot, until: limit.deadline) { server, isAsking in
            let connection = try await server.shared(traffic).connection(until: Self.slice(limit.deadline))
            guard isAsking else { return try await connection.execute(command, limit: limit).orThrown() }
            return try await connection.execute([Self.asking, command], limit: limit)[1].orThrown()
        }
    }

    /// Sends a blocking command and those behind it, all of one slot. See `RedisClient.sendBlocking`.
    ///
    /// The node of a slot that moves away ends the block; the commands are then sent to the new one, and block anew.
    func sendBlocking(_ commands: [RedisCommand], limit: Duration) async throws -> [RESPValue] {
        try await routed(commands.first?.slot, patience: configuration.commandTimeout) { server, isAsking in
            let sent = isAsking ? commands.flatMap { [Self.asking, $0] } : commands
            var replies = try await server.blocking.execute(sent, limit: limit, connectBy: Self.slice(.distantFuture))
            if isAsking { replies = replies.enumerated().filter { $0.offset % 2 == 1 }.map(\.element) }
            guard let error = replies.first?.error else { return replies }
            // If a later command was carried out, the call must not be repeated: its result would be lost twice.
            let isDone = replies.dropFirst().contains { $0.error?.mayPassInCluster != true }
            throw isDone ? error.afterAll.applied(true) : error
        }
    }

    /// Sends the commands to their nodes, and returns all replies, with errors as values. Commands of one slot are
    /// carried out in their order, except those that a node sends elsewhere or refuses for now: they follow later.
    func pipeline(_ commands: [RedisCommand], limit: TimeLimit) async throws -> [RESPValue] {
        var replies = [RESPValue](repeating: .null, count: commands.count)
        var missing = Array(commands.indices)
        let slots = commands.map(\.slot)
        var backoff = Backoff(first: .milliseconds(10), limit: .milliseconds(500))
        while true {
            let groups = try await grouped(missing, slots, until: limit.deadline)
            try await withThrowingTaskGroup(of: ([Int], [RESPValue]).self) { group in
                for (server, indices) in groups {
                    group.addTask { (indices, try await self.replies(commands, indices, server, limit)) }
                }
                for try await (indices, received) in group {
                    for (index, reply) in zip(indices, received) { replies[index] = reply }
                }
            }
            missing = missing.filter { replies[$0].error?.mayPassInCluster == true }
            if missing.isEmpty { return replies }
            for index in missing {
                guard let error = replies[index].error else { continue }
                if case .moved(let slot, let target)? = redirection(error) { learn(slot, isAt: target) }
            }
            for index in missing where replies[index].error?.code == "ASK" {
                do {
                    replies[index] = try await send(commands[index], limit: limit, traffic: .ordinary)
                } catch let error as RedisError {
                    replies[index] = .error(error)
                }
            }
            missing = missing.filter { replies[$0].error?.mayPassInCluster == true }
            let delay = backoff.nextDelay()
            guard !missing.isEmpty, NIODeadline.after(delay) < limit.deadline else { return replies }
            try await Task.sleep(for: delay)
        }
    }

    /// Which commands go to which node.
    private func grouped(
        _ indices: [Int], _ slots: [Int?], until deadline: NIODeadline
    ) async throws -> [(ServerConnections, [Int])] {
        var groups: [ObjectIdentifier: (ServerConnections, [Int])] = [:]
        for index in indices {
            let server = try await owner(of: slots[index], until: deadline)
            groups[ObjectIdentifier(server), default: (server, [])].1.append(index)
        }
        return Array(groups.values)
    }

    /// Sends some of the commands to one node. If it cannot be reached, each reply is that error.
    private func replies(
        _ commands: [RedisCommand], _ indices: [Int], _ server: ServerConnections, _ limit: TimeLimit
    ) async throws -> [RESPValue] {
        do {
            let connection = try await server.shared(.ordinary).connection(until: Self.slice(limit.deadline))
            return try await connection.execute(indices.map { commands[$0] }, limit: limit)
        } catch let error as RedisError {
            let error = isShutDown ? error : error.ofNode
            if error.putsSlotsInDoubt { readIfDue(atOnce: true) }
            guard error.mayPassInCluster else { throw error }
            return Array(repeating: .error(error), count: indices.count)
        }
    }

    // MARK: Routes

    /// Calls `attempt` with the primary of the slot, and again elsewhere or later while an error says that it had no
    /// effect, until the deadline.
    func routed<Reply>(
        _ slot: Int?, until deadline: NIODeadline,
        _ attempt: (ServerConnections, _ isAsking: Bool) async throws -> Reply
    ) async throws -> Reply {
        try await routed(slot, { _ in deadline }, attempt)
    }

    /// The same for attempts that may take long: the time limit counts from the last one that took longer than it.
    private func routed<Reply>(
        _ slot: Int?, patience: Duration, _ attempt: (ServerConnections, _ isAsking: Bool) async throws -> Reply
    ) async throws -> Reply {
        var deadline = NIODeadline.after(patience)
        let limit = TimeAmount(patience)
        return try await routed(
            slot,
            { started in
                if started + limit <= .now() { deadline = .now() + limit }
                return deadline
            }, attempt)
    }

    /// - Parameter deadline: returns the time until which the call is repeated; it gets the start of the last attempt.
    private func routed<Reply>(
        _ slot: Int?, _ deadline: (_ started: NIODeadline) -> NIODeadline,
        _ attempt: (ServerConnections, _ isAsking: Bool) async throws -> Reply
    ) async throws -> Reply {
        var backoff = Backoff(first: .milliseconds(10), limit: .milliseconds(500))
        var target: ServerConnections?
        var redirections = 0
        while true {
            let started = NIODeadline.now()
            do {
                if let asked = target {
                    target = nil
                    return try await attempt(asked, true)
                }
                return try await attempt(try await owner(of: slot, until: deadline(started)), false)
            } catch let failure as RedisError {
                let error = isShutDown ? failure : failure.ofNode
                let deadline = deadline(started)
                if error.putsSlotsInDoubt { readIfDue(atOnce: true) }
                if let slot, error.kind == .server, error.code == "TRYAGAIN" { noteMoving(slot) }
                guard error.mayPassInCluster || error.isUnblocked, !error.mayHaveBeenApplied else { throw error }
                switch redirection(error) {
                case .moved(let slot, let endpoint)?:
                    learn(slot, isAt: endpoint)
                    redirections += 1
                case .ask(let endpoint)?:
                    target = server(at: endpoint)
                    redirections += 1
                case nil: redirections = 0
                }
                if (1...Self.redirectionsInARow).contains(redirections) { continue }
                redirections = 0
                target = nil
                let delay = backoff.nextDelay()
                guard NIODeadline.after(delay) < deadline else { throw error.afterAll }
                try await Task.sleep(for: delay)
            }
        }
    }

    private static let asking = RedisCommand("ASKING")

    private static func slice(_ deadline: NIODeadline) -> NIODeadline { min(deadline, .now() + connectSlice) }

    /// Reads where a command is to go. An address without a host is on the host of the node that sent it.
    private func redirection(_ error: RedisError) -> Redirection? {
        Redirection(error, from: server(at: error.endpoint)?.configuration.endpoint ?? configuration.endpoint)
    }
}

extension RESPValue {
    fileprivate func orThrown() throws -> RESPValue {
        if let error { throw error }
        return self
    }
}

extension RedisError {
    /// The node became a Redis replica, and ended a blocking command that had popped nothing.
    fileprivate var isUnblocked: Bool { kind == .server && code == "UNBLOCKED" }

    /// The connections to a node that left the Cluster are closed. To the caller, they are lost.
    fileprivate var ofNode: RedisError {
        guard kind == .clientShutDown else { return self }
        return RedisError(
            kind: .connectionClosed, message: "\(endpoint) left the Redis Cluster", endpoint: endpoint,
            mayHaveBeenApplied: mayHaveBeenApplied)
    }

    /// The error for the caller, who can do nothing with the address of another node.
    fileprivate var afterAll: RedisError {
        guard redirects else { return self }
        return RedisError(
            kind: .deadlineExceeded,
            message: "the nodes of the Redis Cluster sent the command to each other until its deadline: \(message)",
            endpoint: endpoint)
    }
}
