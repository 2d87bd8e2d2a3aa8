import ChildProcess
import Glibc
import Testing

/// A parent in a terminal: its children have none.
@Suite struct ChildrenOfAProcessInATerminal {
    /// Runs the fixture in a terminal of its own, and returns what it prints there.
    private func inTerminal(_ arguments: String...) async throws -> String {
        let python = """
            import os, pty, sys
            child, terminal = pty.fork()
            if child == 0: os.execv(sys.argv[1], sys.argv[1:])
            while True:
                try: output = os.read(terminal, 65536)
                except OSError: break
                if not output: break
                os.write(1, output)
            """
        let child = try await ChildProcess.start(
            .init(
                arguments: ["python3", "-c", python, try fixturePath()] + arguments,
                environment: ["PATH": testPath]))
        // A child that is stopped would never end.
        let watch = Task {
            try await Task.sleep(for: .seconds(30))
            child.signalGroup(SIGKILL)
            for entry in ProcessEntry.all() where entry.parent == child.processID { kill(entry.processID, SIGKILL) }
        }
        defer { watch.cancel() }
        return await finish(child).text
    }

    /// As ssh, git and sudo do to ask for a password. In the session of the parent, reading from the terminal stops a
    /// program that is not in the foreground.
    @Test(arguments: [
        "read word < /dev/tty", "(read word) < /dev/tty", "exec 3<>/dev/tty; echo password: >&3; read word <&3",
        "bash -c 'read word < /dev/tty'", "stty -F /dev/tty -echo",
    ])
    func theTerminalCannotBeReadAndTheProgramGoesOn(script: String) async throws {
        let output = try await inTerminal("shell", "(\(script)) || echo refused; echo on; exit 3")
        // What the two streams carry may come in any order.
        for line in ["refused\r\n", "on\r\n", "exit code 3"] { #expect(output.contains(line), "\(output)") }
    }

    @Test func aChildLeadsASessionOfItsOwn() async throws {
        let output = try await inTerminal("shell", "cut -d' ' -f 4-7 /proc/self/stat; cut -d' ' -f 4-7 /proc/$$/stat")
        let lines = output.split(whereSeparator: \.isNewline).prefix(2).map { $0.split(separator: " ") }
        try #require(lines.count == 2 && lines.allSatisfy { $0.count == 4 }, "\(output)")
        let (grandchild, child) = (lines[0], lines[1])
        #expect(child[1] == child[2], "the leader of the group leads the session")
        #expect(grandchild[1] == child[1] && grandchild[2] == child[2])
        #expect(child[3] == "0" && grandchild[3] == "0", "no terminal")
    }
}
