import Foundation
import SwitchyardWorker
import Testing

@testable import SwitchyardCLI

/// What a worker offers of its machine, and the cgroup limits that are read for it.
@Suite struct HostDetectionTests {
    // MARK: Cgroups

    /// Reads the limits of a tree of files below a temporary folder.
    private func limits(_ membership: String, _ files: [String: String]) throws -> CgroupLimits {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("cgroup-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        for (path, text) in files.merging(["self": membership], uniquingKeysWith: { $1 }) {
            let file = root.appendingPathComponent(path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data("\(text)\n".utf8).write(to: file)
        }
        return CgroupLimits(membershipFile: root.appendingPathComponent("self").path, root: root.path)
    }

    @Test(
        arguments: [
            ("200000 100000", 2.0), ("150000 100000", 1.5), ("max 100000", nil), ("25000 50000", 0.5), ("", nil),
            ("0 100000", nil), ("100000", nil), ("x y", nil), ("-1 100000", nil),
        ] as [(String, Double?)]) func version2HasAQuotaAndAPeriod(text: String, cores: Double?) throws
    {
        #expect(try limits("0::/a", ["a/cpu.max": text]).cores == cores)
    }

    @Test(
        arguments: [("1073741824", 1 << 30), ("max", nil), ("", nil), ("0", nil), ("-5", nil)] as [(String, UInt64?)])
    func version2HasAMemoryLimit(text: String, bytes: UInt64?) throws {
        #expect(try limits("0::/a", ["a/memory.max": text]).memoryBytes == bytes)
    }

    /// The lowest limit on the way to the root holds, wherever it is.
    @Test(arguments: ["", "a/", "a/b/", "a/b/c.scope/"]) func theLimitsOfTheParentsCount(lowest: String) throws {
        var files: [String: String] = [:]
        for folder in ["a/", "a/b/", "a/b/c.scope/"] {
            files["\(folder)cpu.max"] = "800000 100000"
            files["\(folder)memory.max"] = "max"
        }
        files["\(lowest)cpu.max"] = "300000 100000"
        files["\(lowest)memory.max"] = "5000000"
        files["other/cpu.max"] = "100 100000"
        let found = try limits("0::/a/b/c.scope", files)
        #expect(found.cores == 3 && found.memoryBytes == 5_000_000)
    }

    @Test(arguments: ["0::/", "0::/../../x", "0::/not/shown/here"])
    func aContainerReadsItsOwnCgroupAtTheRootOfTheMount(membership: String) throws {
        let found = try limits(membership, ["cpu.max": "400000 100000", "memory.max": "7"])
        #expect(found.cores == 4 && found.memoryBytes == 7)
    }

    @Test(arguments: ["cpu,cpuacct", "cpu"]) func version1HasAHierarchyForEachController(mount: String) throws {
        let files = [
            "\(mount)/docker/x/cpu.cfs_quota_us": "250000", "\(mount)/docker/x/cpu.cfs_period_us": "100000",
            "\(mount)/cpu.cfs_quota_us": "-1", "\(mount)/cpu.cfs_period_us": "100000",
            "memory/docker/memory.limit_in_bytes": "1048576",
            "memory/docker/x/memory.limit_in_bytes": "9223372036854771712",
        ]
        let membership = "12:pids:/docker/x\n4:cpu,cpuacct:/docker/x\n2:memory:/docker/x\n1:name=systemd:/y"
        let found = try limits(membership, files)
        #expect(found.cores == 2.5 && found.memoryBytes == 1 << 20)
    }

    @Test(arguments: ["", "0:", "garbage\n::", "0::/a:b"]) func withoutAnythingThereIsNoLimit(membership: String) throws
    {
        let found = try limits(membership, [:])
        #expect(found.cores == nil && found.memoryBytes == nil)
        #expect(CgroupLimits(membershipFile: "/nonexistent", root: "/nonexistent") == found)
    }

    // MARK: What is offered

    private let machine = HostDetection(
        os: "linux", arch: "x86_64", host: "builder 7.farm", cores: 7.999, memoryBytes: 3 << 30)

    @Test func aLabelHasOnlyCharactersThatALabelMayHave() {
        #expect(machine.labels == ["os=linux", "arch=x86_64", "host=builder-7.farm"])
        let odd = HostDetection(os: "", arch: "é", host: String(repeating: "h", count: 300), cores: 0, memoryBytes: 5)
        #expect(odd.labels.allSatisfy(RunWorker.isLabel) && odd.labels.count == 2)
        #expect(odd.cpu == 0.01 && odd.memoryMB == 1)
    }

    @Test(arguments: [
        (["gpu"], ["gpu", "os=linux", "arch=x86_64", "host=builder-7.farm"]),
        (["os=mac", "zone=a"], ["os=mac", "zone=a", "arch=x86_64", "host=builder-7.farm"]),
        (["os", "host=x", "arch=y"], ["os", "host=x", "arch=y"]),
    ]) func aGivenLabelReplacesADetectedOne(given: [String], all: [String]) {
        var options = WorkerOptions()
        options.labels = given
        machine.complete(&options)
        #expect(options.labels == all)
    }

    /// The scheduler refuses a list of more than 1000 bytes, and the worker would register for ever.
    @Test(arguments: [1, 984, 985, 1000]) func theListOfLabelsStaysWithinTheLimit(length: Int) {
        var options = WorkerOptions()
        options.labels = [String(repeating: "l", count: length)]
        machine.complete(&options)
        #expect(options.labels.joined(separator: ",").utf8.count <= 1000)
        #expect((options.labels.count > 1) == (length <= 991))
    }

    @Test func givenAmountsWin() {
        var options = WorkerOptions()
        options.cpu = 64
        machine.complete(&options)
        #expect(options.cpu == 64 && options.memoryMB == 3072)
        options = WorkerOptions()
        options.memoryMB = 9
        machine.complete(&options)
        #expect(options.cpu == 7.99 && options.memoryMB == 9)
    }

    @Test(arguments: [0, 1, 2, 3, 7, 100]) func theSharesAreNotMoreThanTheMachine(count: Int) throws {
        let share = machine.share(of: count)
        #expect(share.cpu * Double(max(count, 1)) <= machine.cpu && share.memoryMB * max(count, 1) <= machine.memoryMB)
        #expect(share.cpu > 0 && share.memoryMB > 0 && share.labels == machine.labels)
        let worker = try #require(
            try SwitchyardCommand.parseAsRoot(["worker"] + share.arguments) as? RunWorker)
        #expect(worker.cpu == share.cpu && worker.memoryMB == share.memoryMB && worker.labels == share.labels)
        #expect(worker.noDetect)
    }

    @Test func thisMachineIsDetected() {
        let here = HostDetection.current()
        #expect(here.cpu > 0 && here.cpu <= Double(ProcessInfo.processInfo.activeProcessorCount))
        #expect(here.memoryMB > 0 && UInt64(here.memoryMB) <= ProcessInfo.processInfo.physicalMemory >> 20)
        #expect(here.labels.allSatisfy(RunWorker.isLabel))
        #if os(Linux)
            #expect(here.labels.contains("os=linux"))
        #endif
    }

    @Test func onlyMayNameADetectedLabelUnlessNothingIsDetected() throws {
        _ = try SwitchyardCommand.parseAsRoot(["worker", "--only", "host"])
        for arguments in [["--only", "host", "--no-detect"], ["--only", "gpu"], ["--only", "os", "--no-op"]] {
            #expect(throws: (any Error).self, "\(arguments)") {
                try SwitchyardCommand.parseAsRoot(["worker"] + arguments)
            }
        }
    }
}
