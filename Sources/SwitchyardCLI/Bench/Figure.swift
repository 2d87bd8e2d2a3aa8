import Foundation

/// One measured number: what it is called, in which unit, what the runs gave, and what it is compared with.
struct Figure: Sendable {
    enum Unit: Sendable { case microseconds, milliseconds, perSecond, bytes, count, share, ratio }

    /// What a figure cannot go below on the same machine: what it is divided by.
    enum Floor: String, Sendable {
        /// µs of Redis for a PING, an empty function call, the smallest honest life.
        case ping = "ping_us"
        case call = "fcall_us"
        case life = "life_us"
        /// ms of a PING's round trip.
        case roundTrip = "ping_rtt_ms_p50"
        /// The bytes of the payload itself.
        case payload = "payload_bytes"

        var name: String {
            switch self {
            case .ping: "PING"
            case .call: "FCALL"
            case .life: "smallest life"
            case .roundTrip: "round trip"
            case .payload: "payload"
            }
        }
    }

    /// Where it stands in the JSON.
    var path: [String]
    /// For people; nil: only in the JSON.
    var label: String?
    var unit: Unit
    /// The median of the runs, unless the measurement says otherwise.
    var value: Double
    /// One for each run, never empty.
    var samples: [Double]
    var floor: Floor?
    /// Whatever else people want to know beside it.
    var note: String

    init(
        _ path: [String], _ label: String?, _ unit: Unit, _ samples: [Double], value: Double? = nil,
        floor: Floor? = nil, note: String = ""
    ) {
        self.path = path
        self.label = label
        self.unit = unit
        self.samples = samples
        self.value = value ?? Self.median(samples)
        self.floor = floor
        self.note = note
    }

    /// How many times its floor it is; of a rate, how many times the floor one task takes.
    /// - Parameter floor: in the unit of the floor.
    func ratio(to floor: Double) -> Double? {
        guard floor > 0, value > 0 else { return nil }
        return unit == .perSecond ? 1e6 / value / floor : value / floor
    }

    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return 0 }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}

extension Figure.Unit {
    func text(_ value: Double) -> String {
        switch self {
        case .microseconds: "\(Self.digits(value)) µs"
        case .milliseconds: "\(Self.decimals(value, 3)) ms"
        case .perSecond: value < 100 ? "\(Self.digits(value))/s" : "\(Self.grouped(value))/s"
        case .bytes: "\(Self.grouped(value)) bytes"
        case .count: Self.digits(value)
        case .share: "\(Self.decimals(value * 100, 1)) %"
        case .ratio: "\(Self.decimals(value, 3)) ×"
        }
    }

    /// As many decimals as the measurement is worth.
    static func digits(_ value: Double) -> String { decimals(value, abs(value) < 10 ? 2 : abs(value) < 100 ? 1 : 0) }

    static func decimals(_ value: Double, _ count: Int) -> String {
        value.formatted(.number.grouping(.never).precision(.fractionLength(count)).locale(.init(identifier: "en_US")))
    }

    /// 1,000,000
    static func grouped(_ value: Double) -> String {
        value.formatted(.number.precision(.fractionLength(0)).locale(.init(identifier: "en_US")))
    }
}
