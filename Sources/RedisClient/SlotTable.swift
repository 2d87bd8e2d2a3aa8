/// Which primary of a Redis Cluster has which hash slots, as one of its nodes sees it.
struct SlotTable: Sendable {
    typealias Endpoint = RedisConfiguration.Endpoint

    /// The primaries that have slots.
    private(set) var primaries: [Endpoint] = []
    /// The Redis replicas. They are asked for the table too: a primary may be down.
    private(set) var replicas: [Endpoint] = []
    /// For each slot, the index of its primary, counted from 1; 0: none has it.
    private var owners = [UInt16](repeating: 0, count: HashSlot.count)

    /// A table that has not been read.
    init() {}

    /// Reads the reply to CLUSTER SLOTS: `[first, last, primary, replica, …]` for each range of slots, where a node is
    /// `[host, port, id, …]`.
    /// - Parameter source: the node that replied. An absent host stands for its host.
    /// - Returns: nil if no primary has a slot.
    init?(_ reply: RESPValue, from source: Endpoint) {
        for range in reply.array ?? [] {
            guard let parts = range.array, parts.count > 2, let first = parts[0].int, let last = parts[1].int,
                0 <= first, first <= last, last < HashSlot.count,
                let owner = Self.endpoint(parts[2], from: source)
            else { continue }
            let index = insert(owner)
            for slot in first...last { owners[Int(slot)] = index }
            for replica in parts.dropFirst(3) {
                if let replica = Self.endpoint(replica, from: source), !replicas.contains(replica) {
                    replicas.append(replica)
                }
            }
        }
        if primaries.isEmpty { return nil }
    }

    private static func endpoint(_ node: RESPValue, from source: Endpoint) -> Endpoint? {
        guard let parts = node.array, parts.count >= 2, let port = parts[1].int, (1...65535).contains(port) else {
            return nil
        }
        return Endpoint(host: parts[0].string ?? "", port: Int(port), from: source)
    }

    private mutating func insert(_ owner: Endpoint) -> UInt16 {
        if let index = primaries.firstIndex(of: owner) { return UInt16(index + 1) }
        primaries.append(owner)
        return UInt16(primaries.count)
    }

    /// Returns the primary of a slot; nil if none is known.
    func owner(of slot: Int) -> Endpoint? {
        let index = Int(owners[slot])
        return index == 0 ? nil : primaries[index - 1]
    }

    /// Notes what a node has said of a single slot.
    mutating func learn(_ slot: Int, isAt owner: Endpoint) {
        owners[slot] = insert(owner)
        replicas.removeAll { $0 == owner }
    }
}

extension RedisConfiguration.Endpoint {
    /// The address of a node that another one names. Without a host, or with an unknown one (`?`), it is on the host of
    /// the other.
    init?(host: String, port: Int, from source: Self) {
        if !host.isEmpty, host != "?" {
            self = .tcp(host: host, port: port)
        } else if case .tcp(let host, _) = source {
            self = .tcp(host: host, port: port)
        } else {
            return nil
        }
    }
}

/// What a node of a Redis Cluster says of a command that another node is to carry out.
enum Redirection: Equatable {
    /// `MOVED slot host:port`: the slot belongs to that node.
    case moved(slot: Int, to: RedisConfiguration.Endpoint)
    /// `ASK slot host:port`: the slot is moving to that node, and the keys are there, or are to be made there. Only the
    /// one command goes there, behind ASKING.
    case ask(RedisConfiguration.Endpoint)

    /// Reads the message of an error reply; nil if it is another error.
    /// - Parameter source: the node that replied.
    init?(_ error: RedisError, from source: RedisConfiguration.Endpoint) {
        guard error.redirects else { return nil }
        let words = error.message.split(separator: " ")
        guard words.count == 3, let slot = Int(words[1]), (0..<HashSlot.count).contains(slot),
            let colon = words[2].lastIndex(of: ":"), let port = Int(words[2][words[2].index(after: colon)...]),
            (1...65535).contains(port),
            let target = RedisConfiguration.Endpoint(host: String(words[2][..<colon]), port: port, from: source)
        else { return nil }
        self = error.code == "MOVED" ? .moved(slot: slot, to: target) : .ask(target)
    }
}

extension RedisError {
    /// Another node of the Redis Cluster is to carry out the command.
    var redirects: Bool { kind == .server && (code == "MOVED" || code == "ASK") }

    /// The command had no effect, and a node of a Redis Cluster may carry it out later: this one when it is ready or
    /// reachable again, or the one that replaces it.
    var mayPassInCluster: Bool {
        if redirects || isNotNow { return true }
        switch kind {
        case .connectionFailed, .connectionClosed, .deadlineExceeded: return !mayHaveBeenApplied
        default: return false
        }
    }

    /// The table of slots may be out of date.
    var putsSlotsInDoubt: Bool {
        switch kind {
        case .connectionFailed, .connectionClosed, .deadlineExceeded: true
        case .server: ["MOVED", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "UNBLOCKED"].contains(code)
        default: false
        }
    }
}
