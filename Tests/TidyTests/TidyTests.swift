import Foundation
import Testing

@Suite("The repository is tidy")
struct TidyTests {
    /// Files that have a reason to be longer.
    private static let longFiles: [String: String] = [
        "Sources/Switchyard/Functions/core/transition.lua":
            "one change-set: its lists are locals of the file, which a call cannot afford to look up"
    ]

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Paths below the root of the files in `folders` with one of these extensions, in order.
    private static func files(_ folders: [String], _ extensions: Set<String>) throws -> [String] {
        try folders.flatMap { folder in
            try FileManager.default.subpathsOfDirectory(atPath: root.appending(path: folder).path)
                .filter { extensions.contains(URL(filePath: $0).pathExtension) }.map { "\(folder)/\($0)" }
        }.sorted()
    }

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    private func check(_ files: [String], _ rule: (String) -> [String]) throws {
        #expect(files.count > 5)
        for path in files {
            for violation in rule(try Self.text(path)) { Issue.record("\(path): \(violation)") }
        }
    }

    @Test func linesFitInto120Columns() throws {
        try check(Self.files(["Sources", "Tests", "Plugins"], ["swift", "lua", "c", "h"]), Tidy.longLines)
    }

    @Test func noFileIsTooLong() throws {
        let files = try Self.files(["Sources", "Tests"], ["swift", "lua", "c"])
        for path in files {
            let violations = Tidy.tooManyLines(try Self.text(path))
            #expect(violations.isEmpty == (Self.longFiles[path] == nil), "\(path): \(violations)")
        }
    }

    @Test func noPrivateWordIsUsed() throws {
        let sources = try Self.files(
            ["Sources", "Tests", "Plugins", "scripts"], ["swift", "lua", "c", "h", "md", "py", "sh", "html", "js"])
        let files = sources.filter { !$0.hasPrefix("Tests/TidyTests/") } + ["README.md", "CONTRIBUTING.md"]
        try check(files, Tidy.banned)
    }

    @Test func everyPublicDeclarationHasADocstring() throws {
        try check(Self.files(["Sources"], ["swift"]), Tidy.undocumented)
    }

    @Test func everyImportIsDeclared() throws {
        let manifest = Manifest(try Self.text("Package.swift"))
        #expect(manifest.modulesOfTarget.count > 10)
        let system: Set<String> = [
            "Foundation", "FoundationEssentials", "FoundationNetworking", "Dispatch", "Glibc", "Musl", "Darwin",
            "Synchronization", "Testing",
            "XCTest",
            "PackagePlugin", "os",
        ]
        for path in try Self.files(["Sources", "Tests"], ["swift"]) {
            let target = String(path.split(separator: "/")[1])
            let declared = try #require(manifest.modulesOfTarget[target], "\(path) is in no target")
            for module in Tidy.imports(try Self.text(path)) where !system.contains(module) && !declared.contains(module)
            {
                Issue.record("\(path) imports \(module), which target \(target) does not declare")
            }
        }
    }

    /// What a build resolves is in the list of versions that an image is built with, and nothing else is.
    @Test func everyDependencyIsPinned() throws {
        struct Resolved: Decodable {
            struct Pin: Decodable { var location: String }
            var pins: [Pin]
        }
        let resolved = try JSONDecoder().decode(Resolved.self, from: Data(Self.text("Package.resolved").utf8))
        func name(_ path: Substring) -> Substring { path.hasSuffix(".git") ? path.dropLast(4) : path }
        let used = Set(resolved.pins.map { name($0.location.replacing("https://github.com/", with: "")[...]) })
        let pinned = try Self.text("Package.swift").matches(of: #/dependency\("([^"]+)", "\d+\.\d+\.\d+"/#).map {
            name($0.1)
        }
        #expect(used == Set(pinned), "\(used.symmetricDifference(pinned).sorted())")
        #expect(pinned.count == Set(pinned).count)
    }

    // MARK: The rules see what is planted

    @Test func aPlantedViolationIsSeen() {
        #expect(Tidy.longLines("a b c " + String(repeating: "x", count: 115)).count == 1)
        #expect(Tidy.longLines("a b c " + String(repeating: "x", count: 114)).isEmpty)
        #expect(Tidy.tooManyLines(String(repeating: "\n", count: 400)).count == 1)
        #expect(Tidy.tooManyLines(String(repeating: "\n", count: 399)).isEmpty)
        for (word, _) in Tidy.bannedWords {
            #expect(Tidy.banned("// The \(word.capitalized) is here.") != [])
        }
        #expect(Tidy.banned("likewise, an answer").isEmpty)
        #expect(Tidy.undocumented("    public func f() {}\n").count == 1)
        #expect(Tidy.undocumented("/// Does it.\n@discardableResult\npublic func f() {}").isEmpty)
        #expect(
            Tidy.imports("import Foundation\n@testable import A\nimport struct B.C\n// import D") == [
                "Foundation", "A", "B",
            ])
        let manifest = Manifest(
            #".target(name: "A", dependencies: ["B", .product(name: "C", package: "c")]), .testTarget(name: "D")"#
        )
        #expect(manifest.modulesOfTarget == ["A": ["B", "C"], "D": []])
    }
}
