// swift-tools-version: 6.2
import PackageDescription

// Dependencies point one way: CLI → Bench, HTTP, Worker, Jobs → Switchyard (the scheduler) → RedisClient → hiredis.

let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny")
]

// The versions that this version of Switchyard is tested with. A package that depends on Switchyard may use later ones,
// up to the next major version. With SWITCHYARD_PINNED=1 exactly these are used, also of what the dependencies depend on:
// images and releases are built so, because no lock file (Package.resolved) is kept here.
let isPinned = Context.environment["SWITCHYARD_PINNED"] == "1"

func dependency(_ path: String, _ version: Version, traits: Set<Package.Dependency.Trait> = [.defaults])
    -> Package.Dependency
{
    let url = "https://github.com/" + path
    return isPinned
        ? .package(url: url, exact: version, traits: traits) : .package(url: url, from: version, traits: traits)
}

let direct = [
    dependency("hummingbird-project/hummingbird.git", "2.28.1"),
    dependency("apple/swift-nio.git", "2.101.2"),
    dependency("apple/swift-nio-extras.git", "1.35.2"),
    dependency("apple/swift-nio-ssl.git", "2.37.6"),
    dependency("apple/swift-log.git", "1.16.2"),
    dependency("apple/swift-metrics.git", "2.13.0"),
    dependency("apple/swift-distributed-tracing.git", "1.7.3"),
    dependency("apple/swift-argument-parser.git", "1.8.2"),
    dependency("apple/swift-collections.git", "1.6.0"),
    dependency("apple/swift-configuration.git", "1.4.0", traits: ["JSON", "CommandLineArguments"]),
    dependency("swift-server/swift-service-lifecycle.git", "2.13.0"),
    dependency("swift-server/async-http-client.git", "1.37.0"),
    dependency("HdrHistogram/hdrhistogram-swift", "0.2.0"),
]

// What the dependencies depend on. Named only to pin it: SwiftPM then warns that no target uses it.
let indirect = [
    dependency("apple/swift-algorithms.git", "1.2.1"),
    dependency("apple/swift-asn1.git", "1.7.4"),
    dependency("apple/swift-async-algorithms.git", "1.1.4"),
    dependency("apple/swift-atomics.git", "1.3.0"),
    dependency("apple/swift-certificates.git", "1.21.1"),
    dependency("apple/swift-crypto.git", "4.5.2"),
    dependency("apple/swift-http-structured-headers.git", "1.7.0"),
    dependency("apple/swift-http-types.git", "1.8.0"),
    dependency("apple/swift-nio-http2.git", "1.46.0"),
    dependency("apple/swift-nio-transport-services.git", "1.28.0"),
    dependency("apple/swift-numerics", "1.1.1"),
    dependency("apple/swift-service-context.git", "1.5.1"),
    dependency("apple/swift-system", "1.8.1"),
]

let dependencies = direct + (isPinned ? indirect : [])

let package = Package(
    name: "switchyard",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "switchyard", targets: ["SwitchyardCLI"]),
        .library(name: "Switchyard", targets: ["Switchyard"]),
        .library(name: "SwitchyardJobs", targets: ["SwitchyardJobs"]),
        .library(name: "SwitchyardWorker", targets: ["SwitchyardWorker"]),
        .library(name: "SwitchyardHTTP", targets: ["SwitchyardHTTP"]),
        .library(name: "SwitchyardTesting", targets: ["SwitchyardTesting"]),
        .library(name: "RedisClient", targets: ["RedisClient"]),
    ],
    dependencies: dependencies,
    targets: [
        // hiredis formats and parses the Redis protocol. On Linux the module map links it.
        .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
        .target(
            name: "RedisClient",
            dependencies: [
                "CHiredis",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: swiftSettings),

        // fork, exec, and a guardian process that outlives its parent: in C, because no Swift may run after fork.
        .target(name: "CChildProcess"),
        .target(
            name: "ChildProcess",
            dependencies: ["CChildProcess"],
            swiftSettings: swiftSettings),
        .target(
            name: "PrivateRedis",
            dependencies: [
                "ChildProcess",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),

        // The Lua library: the plugin joins Functions/**.lua into one Swift string at build time.
        .executableTarget(name: "JoinFunctions", swiftSettings: swiftSettings),
        .plugin(name: "EmbedFunctions", capability: .buildTool(), dependencies: ["JoinFunctions"]),
        .target(name: "JSON", swiftSettings: swiftSettings),
        .target(
            name: "Switchyard",
            dependencies: [
                "JSON", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            exclude: ["Functions"],
            swiftSettings: swiftSettings,
            plugins: ["EmbedFunctions"]),
        .target(
            name: "SwitchyardWorker",
            dependencies: [
                "Switchyard", "ChildProcess", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SwitchyardJobs",
            dependencies: [
                "Switchyard", "SwitchyardWorker", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "Instrumentation", package: "swift-distributed-tracing"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SwitchyardHTTP",
            dependencies: [
                "JSON", "Switchyard", "RedisClient",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            // Embedded, so that the program is a single file.
            resources: [.embedInCode("Dashboard")],
            swiftSettings: swiftSettings),
        .target(
            name: "SwitchyardTesting",
            dependencies: [
                "Switchyard", "PrivateRedis", "ChildProcess", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SwitchyardBench",
            dependencies: [
                "JSON", "Switchyard", "SwitchyardTesting", "SwitchyardWorker", "PrivateRedis", "ChildProcess",
                "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SwitchyardTorture",
            dependencies: [
                "JSON", "Switchyard", "SwitchyardTesting", "SwitchyardWorker", "PrivateRedis", "ChildProcess",
                "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "SwitchyardCLI",
            dependencies: [
                "JSON", "Switchyard", "SwitchyardBench", "SwitchyardTorture", "SwitchyardWorker", "SwitchyardHTTP",
                "PrivateRedis", "ChildProcess", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),

        // Of the sources as text: it needs nothing of them.
        .testTarget(name: "TidyTests", swiftSettings: swiftSettings),
        .testTarget(name: "JSONTests", dependencies: ["JSON"], swiftSettings: swiftSettings),
        .testTarget(
            name: "RedisClientTests",
            dependencies: [
                "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        // A parent process that the tests kill, to see what happens to its children.
        .executableTarget(
            name: "ChildProcessFixture", dependencies: ["ChildProcess", "PrivateRedis"],
            path: "Tests/ChildProcessFixture", swiftSettings: swiftSettings),
        .testTarget(
            name: "ChildProcessTests", dependencies: ["ChildProcess", "PrivateRedis", "ChildProcessFixture"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SwitchyardWorkerTests",
            dependencies: [
                "SwitchyardWorker", "SwitchyardTesting", "Switchyard", "ChildProcess", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SwitchyardJobsTests",
            dependencies: [
                "SwitchyardJobs", "SwitchyardTesting", "Switchyard", "SwitchyardWorker", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
                .product(name: "Instrumentation", package: "swift-distributed-tracing"),
                .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),
        // These tests also run the built `switchyard`, which is in the same directory as the test bundle.
        .testTarget(
            name: "SwitchyardCLITests",
            dependencies: [
                "SwitchyardCLI", "ChildProcess", "JSON", "RedisClient", "Switchyard", "SwitchyardBench",
                "SwitchyardTesting", "SwitchyardWorker",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SwitchyardTortureTests",
            dependencies: [
                "SwitchyardTorture", "SwitchyardTesting", "Switchyard",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SwitchyardBenchTests",
            dependencies: [
                "SwitchyardBench", "SwitchyardTesting", "JSON", "Switchyard", "RedisClient",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SwitchyardHTTPTests",
            dependencies: [
                "JSON", "Switchyard", "SwitchyardHTTP", "SwitchyardTesting", "RedisClient",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "SwitchyardTests",
            dependencies: [
                "JSON", "Switchyard", "SwitchyardTesting", "SwitchyardWorker", "SwitchyardHTTP", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ],
            // Read from the source tree: times computed by croniter, queues of an earlier version, and the scripts that
            // wrote them.
            exclude: [
                "Schedules/cron-times.tsv", "Schedules/cron-times.py", "Upgrade/queue-of-version-4.txt",
                "Upgrade/queue-of-version-4-aging.txt", "Upgrade/queue-of-version-4.py",
            ],
            swiftSettings: swiftSettings),
    ],
    swiftLanguageModes: [.v6]
)
