/// Amounts that a worker offers, or that a task needs.
public struct Resources: Sendable, Equatable {
    /// Cores. Fractions are allowed.
    public var cpu: Double?
    /// Memory in MiB.
    public var memoryMB: Int?
    /// Other countable resources by name, such as `gpu` or `license_x`.
    public var custom: [String: Double] = [:]

    /// Amounts; nil and an empty dictionary mean none.
    public init(cpu: Double? = nil, memoryMB: Int? = nil, custom: [String: Double] = [:]) {
        self.cpu = cpu
        self.memoryMB = memoryMB
        self.custom = custom
    }

    /// Whether no amount is given.
    public var isEmpty: Bool { cpu == nil && memoryMB == nil && custom.isEmpty }
}
