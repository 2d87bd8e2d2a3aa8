import ArgumentParser
import Switchyard

/// A size of memory as an argument, as ``SizeText`` reads it: `512M`, `1.5G`.
struct Mebibytes: Sendable, Equatable {
    var value: Int

    /// - Throws: `ValidationError`.
    init(transforming argument: String) throws {
        do {
            value = try SizeText.mebibytes(argument)
        } catch let error as TextRefusal {
            throw ValidationError("expected \(error.expected), found \(Name.shown(argument))")
        }
    }
}
