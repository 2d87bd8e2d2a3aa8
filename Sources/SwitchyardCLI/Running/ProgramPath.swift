import Foundation

/// Our own program, to start again as a worker.
enum ProgramPath {
    /// An absolute path; also when the file was replaced while we run (then Linux marks the link as deleted, and the
    /// link itself still leads to the running program).
    static var current: String {
        #if os(Linux)
            let link = "/proc/self/exe"
            guard let path = try? FileManager.default.destinationOfSymbolicLink(atPath: link),
                FileManager.default.isExecutableFile(atPath: path)
            else { return link }
            return path
        #else
            return Bundle.main.executablePath ?? CommandLine.arguments[0]
        #endif
    }
}
