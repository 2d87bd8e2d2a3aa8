import Foundation
import Testing

/// Runs a decoder with many inputs, each made from a seed of its own.
///
/// `SWITCHYARD_TEST_INPUTS` is the number of inputs (10,000 by default), and `SWITCHYARD_TEST_SEED` the seed of the
/// first. If an input makes the process trap, the target and the seed of the input are the last words on stderr: the
/// same seed with `SWITCHYARD_TEST_INPUTS=1` repeats it.
enum Fuzz {
    private static let environment = ProcessInfo.processInfo.environment
    static let inputs = environment["SWITCHYARD_TEST_INPUTS"].flatMap(Int.init) ?? 10_000
    static let firstSeed =
        environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 0...UInt64(UInt32.max))

    /// - Parameter share: The part of the inputs that a slow target gets, unless a million or more are wanted.
    static func run(
        _ target: StaticString, share: Double = 1, _ body: (inout FuzzInput) async throws -> Void
    ) async throws {
        LastWords.install()
        for index in 0..<(inputs < 1_000_000 ? max(1, Int(Double(inputs) * share)) : inputs) {
            let seed = firstSeed &+ UInt64(index)
            LastWords.note(target, seed)
            var input = FuzzInput(seed: seed)
            do {
                try await body(&input)
            } catch {
                Issue.record("\(target): SWITCHYARD_TEST_SEED=\(seed) SWITCHYARD_TEST_INPUTS=1: \(error)")
                return
            }
        }
        LastWords.forget()
    }
}

/// A property does not hold for an input.
struct FuzzFailure: Error, CustomStringConvertible {
    var description: String
}

func expectEqual<Value: Equatable>(_ found: Value, _ expected: Value, _ what: String) throws {
    guard found != expected else { return }
    throw FuzzFailure(description: "\(what): expected \(expected), found \(found)")
}

/// What the process says when it traps in a fuzz target. Only functions that a signal handler may call are used.
private enum LastWords {
    // Safe: only one fuzz target runs at a time (FuzzTests is serialized, and the tests run one after the other), and
    // the handler runs on the thread that has trapped.
    nonisolated(unsafe) private static var target: StaticString?
    nonisolated(unsafe) private static var seed: UInt64 = 0
    nonisolated(unsafe) private static let digits = UnsafeMutablePointer<UInt8>.allocate(capacity: 20)

    private static let installed: Void = {
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT] {
            signal(number) { number in
                LastWords.say()
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }()

    static func install() { installed }

    static func note(_ name: StaticString, _ number: UInt64) { (target, seed) = (name, number) }
    static func forget() { target = nil }

    private static func write(_ text: StaticString) {
        // Nothing can be done about a closed stderr.
        _ = Foundation.write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    }

    private static func say() {
        guard let target else { return }
        var (rest, first) = (seed, 20)
        repeat {
            first -= 1
            digits[first] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
        } while rest > 0
        write("\nfuzz target ")
        write(target)
        write(" trapped: SWITCHYARD_TEST_INPUTS=1 SWITCHYARD_TEST_SEED=")
        _ = Foundation.write(STDERR_FILENO, digits + first, 20 - first)
        write("\n")
    }
}
