import Foundation

/// The path of this program, for starting other `switchyard` processes.
enum ProgramPath {
    /// An absolute path that also works if the file was replaced while this process runs. Linux then marks the target
    /// of /proc/self/exe as deleted, and the link itself still opens the running program.
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
