import Foundation
import Switchyard

/// A copy of the program whose function library has a lower version: what runs during a rolling upgrade.
enum OlderProgram {
    /// The version of its library.
    static let version = FunctionLibrary.version - 1

    /// Makes the copy. The number is changed in the program's file, in the text of the library.
    /// - Throws: ``TortureError`` if the number is not found, or has another number of digits.
    static func make(of program: String, at path: String) throws {
        let line = Data("local VERSION = \(FunctionLibrary.version)\n".utf8)
        let older = Data("local VERSION = \(version)\n".utf8)
        guard line.count == older.count else {
            throw TortureError("version \(version) has another number of digits than \(FunctionLibrary.version)")
        }
        try FileManager.default.copyItem(atPath: program, toPath: path)
        let file = try FileHandle(forUpdating: URL(filePath: path))
        defer { try? file.close() }  // a failed write has thrown
        let size = Int(try file.seekToEnd())
        guard let bytes = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fileDescriptor, 0),
            bytes != MAP_FAILED
        else { throw TortureError("\(path): mmap failed (errno \(errno))") }
        defer { munmap(bytes, size) }
        guard let found = find(line, in: UnsafeRawBufferPointer(start: bytes, count: size)) else {
            throw TortureError("\(path) has no text of the function library")
        }
        UnsafeMutableRawBufferPointer(start: bytes + found, count: older.count).copyBytes(from: older)
    }

    /// The offset of the first occurrence.
    private static func find(_ line: Data, in bytes: UnsafeRawBufferPointer) -> Int? {
        guard let start = bytes.baseAddress, let first = line.first else { return nil }
        var offset = 0
        while offset + line.count <= bytes.count {
            guard let next = memchr(start + offset, Int32(first), bytes.count - offset) else { return nil }
            offset = start.distance(to: UnsafeRawPointer(next))
            guard offset + line.count <= bytes.count else { return nil }
            if line.withUnsafeBytes({ memcmp(start + offset, $0.baseAddress ?? start, $0.count) }) == 0 {
                return offset
            }
            offset += 1
        }
        return nil
    }
}
