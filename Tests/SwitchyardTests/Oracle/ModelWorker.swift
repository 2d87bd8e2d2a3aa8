import Switchyard
import SwitchyardTesting

struct ModelWorker {
    let id: String
    var slots: Int
    var className: String
    /// The nonce of the process that has registered with this id.
    var nonce: String?
    var expires: Int
    var draining = false
    /// Its grace, in ms, if it reports the end of processes.
    var grace: Int?
    /// Whether it has pulled without success, and nothing has woken it since.
    var isAsleep = false
    /// Whether a wake-up waits for it.
    var isWoken = false
    /// The number of the call that last gave it tasks; 0: none did.
    var lastWork = 0
}

/// Which workers may take which tasks: the names of lanes and classes, interpreted independently of the Lua functions.
enum ModelMatch {
    /// Whether workers of a class could ever run a task with these needs.
    static func serves(_ className: String, _ needs: String) -> Bool {
        let tokens = className.split(separator: ",").map(String.init)
        let only = tokens.filter { $0.hasPrefix("!") }.map { $0.dropFirst() }
        let has = tokens.filter { !$0.hasPrefix("!") }.joined(separator: ",")
        if !only.isEmpty, !needs.split(separator: ",").contains(where: { asks($0, for: only) }) { return false }
        return LaneName(has).serves(LaneName(needs))
    }

    /// Whether a requirement names one of these labels, with any value.
    private static func asks(_ requirement: Substring, for labels: [Substring]) -> Bool {
        guard !requirement.hasPrefix("+"), !requirement.contains("!=") else { return false }
        return labels.contains(requirement.prefix { $0 != "=" })
    }

    /// Resource → amount.
    static func amounts(_ name: String) -> [String: Double] { LaneName(name).amounts }

    static func fits(_ needs: String, in room: [String: Double]) -> Bool {
        amounts(needs).allSatisfy { $0.value <= (room[$0.key] ?? 0) + 1e-9 }
    }
}
