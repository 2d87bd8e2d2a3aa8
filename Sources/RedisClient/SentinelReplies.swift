/// A primary as sentinels name it.
struct SentinelPrimary: Sendable, Hashable {
    let endpoint: RedisConfiguration.Endpoint
    /// The epoch of the failover that made it the primary. A later failover has a higher one.
    let epoch: Int64
}

/// What each sentinel said when all of them were asked for the primary. Pure logic: which of several replies counts,
/// and what to tell a person if none does.
struct SentinelReplies: Sendable {
    enum Reply: Sendable, Equatable {
        /// - Parameter isHealthy: false if this sentinel does not reach the primary, or fails over.
        case primary(SentinelPrimary, isHealthy: Bool)
        /// The sentinel watches over no primary of this name.
        case unknownName
        /// An error reply: the login is wrong, or the server is no sentinel.
        case refused(String)
        case unreachable(String)
    }

    /// The name that was asked for.
    let name: String
    /// Each sentinel with its reply, in the order of the configuration.
    let replies: [(sentinel: RedisConfiguration.Endpoint, reply: Reply)]

    private var primaries: [SentinelPrimary] {
        replies.compactMap { if case .primary(let primary, _) = $0.reply { primary } else { nil } }
    }

    private var isMostOfAll: Bool { primaries.count * 2 > replies.count }

    /// The primary with the highest epoch; of several with it, the one that most sentinels name. Nil if no sentinel
    /// names one.
    ///
    /// Sentinels learn of a failover up to a second apart. A lower epoch than the `known` one is therefore old news,
    /// unless all sentinels agree on it: then they were set up again, and began to count anew.
    func primary(known: SentinelPrimary?) -> SentinelPrimary? {
        var votes: [SentinelPrimary: Int] = [:]
        for primary in primaries { votes[primary, default: 0] += 1 }
        let best = votes.max { ($0.key.epoch, $0.value) < ($1.key.epoch, $1.value) }?.key
        guard let best else { return nil }
        if let known, best.epoch < known.epoch, primaries.count < replies.count { return known }
        return best
    }

    /// Whether more than half of the sentinels name the same primary and reach it.
    var isSettled: Bool {
        isMostOfAll && Set(primaries).count == 1
            && replies.allSatisfy { if case .primary(_, isHealthy: false) = $0.reply { false } else { true } }
    }

    /// Whether no sentinel can be asked, so that nothing is known against the primary of before.
    var isSilence: Bool {
        replies.allSatisfy { if case .primary = $0.reply { false } else { $0.reply != .unknownName } }
    }

    /// What to tell when no sentinel names a primary. A repetition cannot help if every sentinel replied.
    func error(endpoint: String) -> RedisError {
        let said = replies.map { "\($0.sentinel): \(text($0.reply))" }.joined(separator: "; ")
        let isFinal = replies.allSatisfy { if case .unreachable = $0.reply { false } else { true } }
        return RedisError(
            kind: isFinal ? .invalidConfiguration : .connectionFailed,
            message: "no sentinel names a primary \"\(name)\": \(said). \(advice)", endpoint: endpoint)
    }

    private func text(_ reply: Reply) -> String {
        switch reply {
        case .primary(let primary, _): "it is \(primary.endpoint)"
        case .unknownName: "it has no primary of this name"
        case .refused(let message): "it replied \(message)"
        case .unreachable(let reason): reason
        }
    }

    private var advice: String {
        if replies.contains(where: { $0.reply == .unknownName }) {
            return "Check the name behind the sentinels in the URL; SENTINEL MASTERS lists the names that there are"
        }
        let refusals = replies.compactMap { if case .refused(let message) = $0.reply { message } else { nil } }
        if refusals.contains(where: { $0.hasPrefix("NOAUTH") || $0.hasPrefix("WRONGPASS") || $0.hasPrefix("NOPERM") }) {
            return "Give the login of the sentinels as ?sentinel_user=…&sentinel_password=…: the one before the @ is "
                + "for the primary"
        }
        if refusals.contains(where: { $0.contains("without any password configured") }) {
            return "The sentinels have no password: leave sentinel_user and sentinel_password out of the URL"
        }
        if !refusals.isEmpty { return "Check that the addresses are those of sentinels, not of Redis servers" }
        return "Check the addresses of the sentinels, and whether they run"
    }
}
