import Foundation

/// One measured figure: its name, its unit, the samples of the runs, and the floor with which it is compared.
package struct Figure: Sendable {
    package enum Unit: Sendable { case microseconds, milliseconds, perSecond, bytes, count, share, ratio }

    /// A lower bound of a figure on the same machine. The report divides the figure by it.
    package enum Floor: String, Sendable {
        /// Redis µs for a PING.
        case ping = "ping_us"
        /// Redis µs for a call of an empty function.
        case call = "fcall_us"
        /// Redis µs for the smallest life of a task: see ``FloorMeasurement``.
        case life = "life_us"
        /// Round trip of a PING, p50, in ms.
        case roundTrip = "ping_rtt_ms_p50"
        /// Bytes of the payload itself.
        case payload = "payload_bytes"

        package var name: String {
            switch self {
            case .ping: "PING"
            case .call: "FCALL"
            case .life: "smallest life"
            case .roundTrip: "round trip"
            case .payload: "payload"
            }
        }
    }

    /// The path of the figure in the JSON.
    package var path: [String]
    /// The label of its table row; nil: it is only in the JSON.
    package var label: String?
    package var unit: Unit
    /// The median of the runs, unless the measurement says otherwise.
    package var value: Double
    /// One value for each run; never empty.
    package var samples: [Double]
    package var floor: Floor?
    /// Further text for the table row.
    package var note: String

    package init(
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

    /// Returns the figure divided by its floor. For a rate, it is the time of one task divided by the floor in µs.
    /// - Parameter floor: the value of the floor, in the floor's unit.
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
    package func text(_ value: Double) -> String {
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

    /// Formats a number with two decimals below 10, one below 100, and none from 100.
    package static func digits(_ value: Double) -> String {
        decimals(value, abs(value) < 10 ? 2 : abs(value) < 100 ? 1 : 0)
    }

    static func decimals(_ value: Double, _ count: Int) -> String {
        value.formatted(.number.grouping(.never).precision(.fractionLength(count)).locale(.init(identifier: "en_US")))
    }

    /// Formats a whole number with thousands separators: 1,000,000.
    static func grouped(_ value: Double) -> String {
        value.formatted(.number.precision(.fractionLength(0)).locale(.init(identifier: "en_US")))
    }
}
