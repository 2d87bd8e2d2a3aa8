import Foundation
import Switchyard
import SwitchyardWorker

/// What this machine offers to tasks: the labels, cores and memory that a worker registers unless `--no-detect` is
/// given.
///
/// In a container the limits of its cgroup count, so that workers never offer more than the kernel lets them use.
struct HostDetection: Sendable, Equatable {
    /// The names of the detected labels.
    static let labelNames = ["os", "arch", "host"]
    /// The scheduler's limit on the length of a worker's list of labels.
    private static let longestList = 1000

    /// `os=linux`, `arch=x86_64`, `host=builder-7`.
    var labels: [String]
    /// Cores, in hundredths.
    var cpu: Double
    /// MiB.
    var memoryMB: Int

    init(os: String, arch: String, host: String, cores: Double, memoryBytes: UInt64) {
        labels = zip(Self.labelNames, [os, arch, host]).compactMap { name, value in
            let value = Self.labelValue(value)
            return value.isEmpty ? nil : "\(name)=\(value)"
        }
        cpu = Self.hundredths(cores)
        memoryMB = max(1, Int(clamping: memoryBytes >> 20))
    }

    /// Reads the machine that this process runs on.
    static func current() -> HostDetection {
        let information = ProcessInfo.processInfo
        var names = utsname()
        let isKnown = uname(&names) == 0
        let system = isKnown ? text(of: names.sysname).lowercased() : ""
        let limits = CgroupLimits.ofThisProcess()
        // The cores that the process may use (its affinity), and the machine's memory.
        let cores = Double(max(1, information.activeProcessorCount))
        return HostDetection(
            os: system == "darwin" ? "macos" : system, arch: isKnown ? text(of: names.machine) : "",
            host: information.hostName, cores: min(cores, limits.cores ?? cores),
            memoryBytes: min(information.physicalMemory, limits.memoryBytes ?? .max))
    }

    /// Returns an equal share for each of `count` workers of the machine.
    func share(of count: Int) -> HostDetection {
        var share = self
        share.cpu = Self.hundredths(cpu / Double(max(1, count)))
        share.memoryMB = max(1, memoryMB / max(1, count))
        return share
    }

    /// The flags of `switchyard worker` with which it registers exactly this.
    var arguments: [String] {
        ["--no-detect"] + labels.flatMap { ["--label", $0] } + ["--cpu", "\(cpu)", "--memory-mb", "\(memoryMB)"]
    }

    /// Adds what `options` does not have yet. A label that was given replaces a detected one of the same name.
    func complete(_ options: inout WorkerOptions) {
        let given = Set(options.labels.map { $0.prefix { $0 != "=" } })
        var length = options.labels.joined(separator: ",").utf8.count
        for label in labels where !given.contains(label.prefix { $0 != "=" }) {
            length += label.utf8.count + 1
            // The scheduler would refuse the whole registration.
            if length > Self.longestList { break }
            options.labels.append(label)
        }
        options.cpu = options.cpu ?? cpu
        options.memoryMB = options.memoryMB ?? memoryMB
    }

    /// Rounds down, so that the shares of a machine are not more than the machine.
    private static func hundredths(_ cores: Double) -> Double { max(0.01, (cores * 100 + 1e-6).rounded(.down) / 100) }

    /// Replaces the characters that a label must not have by "-".
    private static func labelValue(_ text: String) -> String {
        String(decoding: text.utf8.prefix(180).map { Name.isAllowed($0) ? $0 : UInt8(ascii: "-") }, as: UTF8.self)
    }

    /// Returns the text of a field of `utsname`, which C declares as an array of fixed size.
    private static func text<Field>(of field: Field) -> String {
        withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
