import ChildProcess
import FoundationEssentials
import Glibc
import Testing

@Suite struct Starting {
    @Test func aMissingProgramIsAnErrorThatNamesIt() async throws {
        let error = try await #require(throws: ChildProcessError.self) {
            _ = try await ChildProcess.start(.init(arguments: ["clangx"], environment: ["PATH": testPath]))
        }
        #expect(error.description == "clangx: No such file or directory")
        #expect(error.isProgramMissing)
    }

    @Test func aFileThatIsNotExecutableIsAnError() async throws {
        let error = try await #require(throws: ChildProcessError.self) {
            _ = try await ChildProcess.start(.init(arguments: ["/etc/passwd"]))
        }
        #expect(error.description == "/etc/passwd: Permission denied")
    }

    /// execvp would run it by a shell, and an empty file would then succeed.
    @Test(arguments: ["", "echo hello\n", "\u{7f}ELF", "\n#!/bin/sh\n"])
    func aScriptThatDoesNotSayWhatRunsItIsAnErrorThatSaysHow(text: String) async throws {
        let directory = try temporaryDirectory()
        defer { remove(directory) }
        let path = directory + "/script"
        try Data(text.utf8).write(to: URL(filePath: path))
        chmod(path, 0o755)
        let error = try await #require(throws: ChildProcessError.self) {
            _ = try await ChildProcess.start(.init(arguments: [path]))
        }
        #expect(error.description.hasPrefix("\(path): Exec format error"))
        #expect(error.description.contains("#!/bin/sh"))
    }

    /// Each step of a start needs a descriptor or two; the error names the step that found none.
    @Test func withoutDescriptorsTheErrorNamesTheStep() async throws {
        let lines = await finish(try await startFixture("full", "9")).lines
        #expect(lines.count == 9)
        for line in lines.prefix(8) { #expect(line.hasSuffix("Too many open files"), "\(lines)") }
        #expect(lines.prefix(6).allSatisfy { $0.contains("/bin/true: pipe: ") }, "\(lines)")
        #expect(!lines.contains { $0.contains("forked") }, "\(lines)")
        #expect(lines.last == "exit code 0", "\(lines)")
    }

    @Test func aMissingWorkingDirectoryIsAnErrorThatNamesIt() async throws {
        let error = try await #require(throws: ChildProcessError.self) {
            _ = try await ChildProcess.start(.init(arguments: ["/bin/true"], workingDirectory: "/nowhere"))
        }
        #expect(error.description == "/bin/true: working directory /nowhere: No such file or directory")
        #expect(error.reason == .workingDirectory("/nowhere"))
    }

    @Test(arguments: [[], [""], ["sh", "a\0b"]])
    func aVectorThatCannotBeExecutedIsRefused(arguments: [String]) async throws {
        let error = try await #require(throws: ChildProcessError.self) {
            _ = try await ChildProcess.start(.init(arguments: arguments))
        }
        guard case .invalidCommand = error.reason else {
            Issue.record("\(error)")
            return
        }
    }

    @Test func theEnvironmentIsExactlyWhatWasGiven() async throws {
        setenv("SWITCHYARD_TEST_LEAK", "1", 1)
        let ran = try await run(["env"], environment: ["PATH": "/usr/bin:/bin", "A": "1 = 2", "EMPTY": ""])
        #expect(ran.lines == ["A=1 = 2", "EMPTY=", "PATH=/usr/bin:/bin"])
    }

    @Test func theWorkingDirectoryIsWhatWasGiven() async throws {
        let child = try await ChildProcess.start(.init(arguments: ["/bin/pwd"], workingDirectory: "/usr"))
        #expect(await finish(child).text == "/usr\n")
    }

    @Test func argumentsArriveUnchanged() async throws {
        let ran = try await run(["printf", "%s|", "a b", "", "$HOME", "ü\n"])
        #expect(ran.text == "a b||$HOME|ü\n|")
    }

    @Test func noDescriptorIsInheritedThatWasNotNamed() async throws {
        let leaking = open("/dev/null", O_RDONLY)  // without close-on-exec
        let named = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer {
            close(leaking)
            close(named)
        }
        let child = try await ChildProcess.start(
            .init(
                arguments: ["sh", "-c", "ls /proc/$$/fd"], environment: ["PATH": testPath],
                inheritedDescriptors: [named]))
        #expect(Set(await finish(child).lines) == ["0", "1", "2", "\(named)"])
    }

    @Test func signalsAreAtTheirDefaults() async throws {
        signal(SIGUSR2, SIG_IGN)
        let ran = try await run(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])
        #expect(ran.lines == ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"])
    }

    @Test func eachChildLeadsItsOwnGroup() async throws {
        let child = try await startShell("echo $$; sleep 1000")
        #expect(await firstLine(of: child) == "\(child.processID)")
        #expect(getpgid(child.processID) == child.processGroup)
        #expect(child.processGroup != getpgrp())
        await child.terminate(grace: .seconds(5))
    }

    @Test func aHundredChildrenAtOnce() async throws {
        let sum = try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 1...100 {
                group.addTask {
                    let ran = await finish(try await startShell("echo \(number); exit \(number)"))
                    #expect(ran.text == "\(number)\n")
                    return Int(ran.status?.exitCode ?? 0)
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(sum == 5050)
    }
}
