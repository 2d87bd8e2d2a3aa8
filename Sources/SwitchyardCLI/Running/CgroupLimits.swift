import Foundation

/// The limits on cores and memory of the cgroup of a process and of the cgroups above it. Nil: no limit.
///
/// Version 2 and version 1 are read. A file that is missing or not understood is no limit: outside Linux, without
/// cgroups, and for a path that the container's mount does not show. In that case the root of the mount, which is the
/// container's own cgroup, is still read.
struct CgroupLimits: Sendable, Equatable {
    var cores: Double?
    var memoryBytes: UInt64?

    static func ofThisProcess() -> CgroupLimits {
        CgroupLimits(membershipFile: "/proc/self/cgroup", root: "/sys/fs/cgroup")
    }

    /// - Parameters:
    ///   - membershipFile: `/proc/<pid>/cgroup`, whose lines are `<hierarchy>:<controllers>:<path>`.
    ///   - root: where the cgroup file systems are mounted.
    init(membershipFile: String, root: String) {
        for line in (Self.read(membershipFile) ?? "").split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            guard fields.count == 3 else { continue }
            let controllers = fields[1].split(separator: ",").map(String.init)
            if fields[1].isEmpty {
                for folder in Self.folders(from: fields[2], in: root) {
                    limit(cores: Self.quota(Self.read("\(folder)/cpu.max")))
                    limit(memoryBytes: Self.bytes(Self.read("\(folder)/memory.max")))
                }
            }
            // The mount has the name of the controller, or of all controllers that it has in common.
            for mount in Set([fields[1], "cpu"]) where controllers.contains("cpu") {
                for folder in Self.folders(from: fields[2], in: "\(root)/\(mount)") {
                    let quota = Self.read("\(folder)/cpu.cfs_quota_us") ?? ""
                    let period = Self.read("\(folder)/cpu.cfs_period_us") ?? ""
                    limit(cores: Self.quota("\(quota) \(period)"))
                }
            }
            for mount in Set([fields[1], "memory"]) where controllers.contains("memory") {
                for folder in Self.folders(from: fields[2], in: "\(root)/\(mount)") {
                    limit(memoryBytes: Self.bytes(Self.read("\(folder)/memory.limit_in_bytes")))
                }
            }
        }
    }

    private mutating func limit(cores found: Double?) {
        if let found { cores = min(found, cores ?? found) }
    }

    private mutating func limit(memoryBytes found: UInt64?) {
        if let found { memoryBytes = min(found, memoryBytes ?? found) }
    }

    /// Returns the folders of the cgroup at `path` and of all cgroups above it, up to the root.
    private static func folders(from path: String, in root: String) -> [String] {
        // A path with ".." is outside the container's view: only the root is in it.
        let parts = path.split(separator: "/").map(String.init)
        let visible = parts.contains("..") ? [] : parts
        return (0...visible.count).map { ([root] + visible.prefix($0)).joined(separator: "/") }
    }

    /// Parses a quota and its period in microseconds, such as `150000 100000`: 1.5 cores. `max` and -1 are no limit.
    private static func quota(_ text: String?) -> Double? {
        let numbers = (text ?? "").split(whereSeparator: \.isWhitespace).map { Double($0) ?? 0 }
        guard numbers.count == 2, numbers[0] > 0, numbers[1] > 0 else { return nil }
        return numbers[0] / numbers[1]
    }

    /// Parses a number of bytes. `max` is no limit; the huge number that stands for none in version 1 is more than any
    /// machine has.
    private static func bytes(_ text: String?) -> UInt64? {
        guard let text, let bytes = UInt64(text.trimmingCharacters(in: .whitespacesAndNewlines)), bytes > 0 else {
            return nil
        }
        return bytes
    }

    /// Returns nil for a file that cannot be read: it is no limit.
    private static func read(_ path: String) -> String? {
        try? String(contentsOfFile: path, encoding: .utf8)
    }
}
