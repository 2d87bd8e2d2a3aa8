import Foundation

/// A network of its own for one process, with a pair of virtual devices to this one. Packets of one direction, or of
/// both, are lost when it is told to: they are sent to a wrong hardware address, and the receiver drops them.
struct NetworkNamespace: Sendable {
    /// Where packets are lost.
    enum Direction: Sendable {
        /// From the process to Redis.
        case requests
        /// From Redis to the process.
        case replies
    }

    private let name: String
    private let number: Int

    private var near: String { name + "a" }
    private var far: String { name + "b" }
    private static let nearHardware = "02:53:59:00:00:01", farHardware = "02:53:59:00:00:02"
    private static let nobody = "02:53:59:00:00:ff"

    /// The address of this end, on which the proxy of Redis listens.
    var address: String { "10.213.\(number).1" }
    private var farAddress: String { "10.213.\(number).2" }

    /// Makes it.
    /// - Throws: ``TortureError`` without the rights or the kernel for it.
    static func make() async throws -> NetworkNamespace {
        // Several runs may happen at once on this machine.
        let number = Int.random(in: 1...254)
        let namespace = NetworkNamespace(
            name: "sy" + String(UInt32.random(in: 0...0xFF_FFFF), radix: 16), number: number)
        do {
            try await namespace.set()
        } catch {
            await namespace.remove()
            throw error
        }
        return namespace
    }

    private func set() async throws {
        try await SystemCommand.run("ip", "netns", "add", name)
        try await SystemCommand.run(
            "ip", "link", "add", near, "address", Self.nearHardware, "type", "veth", "peer", "name", far, "address",
            Self.farHardware, "netns", name)
        try await SystemCommand.run("ip", "addr", "add", address + "/30", "dev", near)
        try await SystemCommand.run("ip", "link", "set", near, "up")
        try await SystemCommand.run("ip", "-n", name, "addr", "add", farAddress + "/30", "dev", far)
        try await SystemCommand.run("ip", "-n", name, "link", "set", far, "up")
        try await SystemCommand.run("ip", "-n", name, "link", "set", "lo", "up")
        try await mend()
    }

    /// The beginning of a command that runs in this network.
    var prefix: [String] { ["ip", "netns", "exec", name] }

    /// From now on the packets of one direction are lost.
    func cut(_ direction: Direction) async throws { try await aim(direction, at: Self.nobody) }

    /// Nothing is lost any more.
    func mend() async throws {
        try await aim(.requests, at: Self.nearHardware)
        try await aim(.replies, at: Self.farHardware)
    }

    private func aim(_ direction: Direction, at hardware: String) async throws {
        switch direction {
        case .requests:
            try await SystemCommand.run(
                "ip", "-n", name, "neigh", "replace", address, "lladdr", hardware, "dev", far, "nud", "permanent")
        case .replies:
            try await SystemCommand.run(
                "ip", "neigh", "replace", farAddress, "lladdr", hardware, "dev", near, "nud", "permanent")
        }
    }

    func remove() async {
        // Whatever of it was made is removed; the kernel removes the devices with the namespace.
        try? await SystemCommand.run("ip", "link", "del", near)
        try? await SystemCommand.run("ip", "netns", "del", name)
    }
}
