import FoundationEssentials
import Testing

/// scripts/sanitize runs only with `scripts/test --all`. A change of the C functions must not leave its driver behind.
@Suite struct SanitizerDriverTests {
    @Test func itCompiles() async throws {
        let root = URL(filePath: #filePath).appending(path: "../../..").standardized.path
        let compile = [
            "clang", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-nullability-completeness",
            "-I", root + "/Sources/CChildProcess/include", root + "/Tests/Sanitizers/child-process.c",
        ]
        let path = ProcessInfo.processInfo.environment["PATH"] ?? testPath
        let ran = try await run(compile, environment: ["PATH": path])
        #expect(ran.status?.exitCode == 0, "\(String(decoding: ran.stderr, as: UTF8.self))")
    }
}
