import Foundation
import Switchyard

/// The arguments of the process as bytes. Swift replaces what is not UTF-8 in silence, so that a file name in another
/// encoding would become the name of another file.
enum ArgumentBytes {
    /// - Throws: ``Failure`` that names the first argument that is not UTF-8.
    static func check() throws(Failure) {
        // Safe: nothing changes the arguments, and each ends with NUL.
        let arguments = UnsafeBufferPointer(start: CommandLine.unsafeArgv, count: Int(CommandLine.argc))
        for case (let index, let argument?) in arguments.enumerated() where String(validatingCString: argument) == nil {
            throw Failure(
                .usage,
                "argument \(index) is not UTF-8: \(Name.shown(String(cString: argument))); pass such bytes in a file, "
                    + "or as base64")
        }
    }
}
