import CChildProcess
import Glibc

/// The memory of one `sw_spawn_request`. It is prepared before the fork, because nothing may be allocated after it.
struct SpawnArguments: ~Copyable {
    private let candidates: CStringArray
    private let argv: CStringArray
    private let envp: CStringArray
    private let directory: CStringArray
    private let inherited: [Int32]

    init(_ command: ChildProcess.Command) throws(ChildProcessError) {
        func refuse(_ text: String) -> ChildProcessError {
            ChildProcessError(program: command.program, reason: .invalidCommand(text), code: EINVAL)
        }
        guard let name = command.arguments.first, !name.isEmpty else { throw refuse("no program is named") }
        for (index, argument) in command.arguments.enumerated() where argument.utf8.contains(0) {
            throw refuse("argument \(index) contains a NUL byte")
        }
        for (key, value) in command.environment {
            guard !key.isEmpty, !key.utf8.contains(UInt8(ascii: "=")), !key.utf8.contains(0), !value.utf8.contains(0)
            else {
                throw refuse("the variable \"\(key)\" cannot be put into an environment")
            }
        }
        if let path = command.workingDirectory, path.isEmpty || path.utf8.contains(0) {
            throw refuse("the working directory is empty or contains a NUL byte")
        }
        candidates = CStringArray(Self.candidates(name: name, path: command.environment["PATH"]))
        argv = CStringArray(command.arguments)
        envp = CStringArray(command.environment.map { "\($0.key)=\($0.value)" }.sorted())
        directory = CStringArray(command.workingDirectory.map { [$0] } ?? [])
        inherited = command.inheritedDescriptors
    }

    /// Returns the paths to try, as execvp does: a name with a slash is a path; another name is looked up in each
    /// directory of PATH, where an empty entry is the working directory.
    static func candidates(name: String, path: String?) -> [String] {
        if name.contains("/") { return [name] }
        return (path ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":", omittingEmptySubsequences: false)
            .map { $0.isEmpty ? name : "\($0)/\(name)" }
    }

    /// Calls `body` with a request whose pointers are valid only during the call.
    func withRequest<Result>(
        input: Int32, output: Int32, errors: Int32, status: Int32, guardian: Int32,
        _ body: (inout sw_spawn_request) -> Result
    ) -> Result {
        inherited.withUnsafeBufferPointer { inherited in
            candidates.withConstantPointers { candidates in
                var request = sw_spawn_request(
                    candidates: candidates, argv: argv.pointers, envp: envp.pointers,
                    directory: UnsafePointer(directory.pointers.pointee),
                    stdin_fd: input, stdout_fd: output, stderr_fd: errors, guardian_fd: guardian,
                    status_fd: status, parent: getpid(),
                    inherited: inherited.baseAddress, inherited_count: inherited.count,
                    open_files: OpenFiles.limitOfChildren)
                return body(&request)
            }
        }
    }
}

/// A NULL-terminated array of C strings; it owns the strings.
private struct CStringArray: ~Copyable {
    let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int

    init(_ strings: [String]) {
        count = strings.count
        pointers = .allocate(capacity: count + 1)
        for (index, string) in strings.enumerated() { (pointers + index).initialize(to: strdup(string)) }
        (pointers + count).initialize(to: nil)
    }

    func withConstantPointers<Result>(_ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result) -> Result {
        pointers.withMemoryRebound(to: UnsafePointer<CChar>?.self, capacity: count + 1) { body($0) }
    }

    deinit {
        for index in 0..<count { free(pointers[index]) }
        pointers.deinitialize(count: count + 1)
        pointers.deallocate()
    }
}
