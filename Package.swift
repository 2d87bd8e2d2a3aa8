// swift-tools-version: 6.2
import PackageDescription

// Dependencies point one way: CLI → Bench, HTTP, Worker, Jobs → Switchyard (the scheduler) → RedisClient → hiredis.

let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny")
]

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
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.1"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras.git", from: "1.34.1"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics.git", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing.git", from: "1.7.3"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections.git", from: "1.6.0"),
        .package(
            url: "https://github.com/apple/swift-configuration.git", from: "1.4.0",
            traits: ["JSON", "CommandLineArguments"]),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
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
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            // Embedded, so that the program is a single file.
            resources: [.embedInCode("Dashboard")],
            swiftSettings: swiftSettings),
        .target(
            name: "SwitchyardTesting",
            dependencies: [
                "Switchyard", "PrivateRedis", "RedisClient",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "SwitchyardBench",
            dependencies: [
                "JSON", "Switchyard", "SwitchyardWorker", "PrivateRedis", "ChildProcess", "RedisClient",
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
                "JSON", "Switchyard", "SwitchyardBench", "SwitchyardTorture", "SwitchyardWorker", "SwitchyardHTTP", "PrivateRedis",
                "ChildProcess", "RedisClient",
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
                "JSON", "Switchyard", "SwitchyardHTTP", "RedisClient",
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
                "Switchyard", "SwitchyardTesting", "SwitchyardWorker", "SwitchyardHTTP", "RedisClient",
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
