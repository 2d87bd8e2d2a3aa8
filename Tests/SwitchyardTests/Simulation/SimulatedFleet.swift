import SwitchyardTesting

/// The workers of the simulation: 200 of 10 classes.
struct SimulatedFleet: Sendable {
    struct Class: Sendable {
        let labels: String
        let cpu: Int
        let memoryMB: Int
        let count: Int

        /// The class as the Lua functions name it.
        var name: LaneName { LaneName("\(labels),+cpu=\(cpu),+memory_mb=\(memoryMB)") }
    }

    static let classes = [
        Class(labels: "os=linux", cpu: 8, memoryMB: 16_384, count: 40),
        Class(labels: "os=linux", cpu: 4, memoryMB: 8192, count: 40),
        Class(labels: "os=linux", cpu: 16, memoryMB: 65_536, count: 20),
        Class(labels: "os=linux,ssd", cpu: 8, memoryMB: 32_768, count: 20),
        Class(labels: "gpu,os=linux", cpu: 8, memoryMB: 32_768, count: 10),
        Class(labels: "gpu,os=linux", cpu: 16, memoryMB: 65_536, count: 10),
        Class(labels: "os=mac", cpu: 8, memoryMB: 16_384, count: 20),
        Class(labels: "arch=arm,os=mac", cpu: 8, memoryMB: 32_768, count: 20),
        Class(labels: "arch=arm,os=linux", cpu: 4, memoryMB: 8192, count: 10),
        Class(labels: "os=linux,zone=eu", cpu: 2, memoryMB: 4096, count: 10),
    ]

    /// The class of each worker; workers are numbered from 0.
    static let classOf: [Int] = classes.indices.flatMap { index in Array(repeating: index, count: classes[index].count)
    }

    static var capacity: Int { classes.reduce(0) { $0 + $1.cpu * $1.count } }
}

/// The free capacity of a worker.
struct Room: Sendable {
    var cpu: Int
    var memoryMB: Int

    init(of workerClass: SimulatedFleet.Class) {
        cpu = workerClass.cpu
        memoryMB = workerClass.memoryMB
    }

    func fits(_ kind: SimulatedLoad.Kind) -> Bool { kind.cpu <= cpu && kind.memoryMB <= memoryMB }

    mutating func take(_ kind: SimulatedLoad.Kind) {
        cpu -= kind.cpu
        memoryMB -= kind.memoryMB
    }

    mutating func giveBack(_ kind: SimulatedLoad.Kind) {
        cpu += kind.cpu
        memoryMB += kind.memoryMB
    }
}
