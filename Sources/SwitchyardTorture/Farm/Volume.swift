import Foundation

/// A small file system in memory, mounted by the tool, which becomes full when it is told to.
struct Volume: Sendable {
    let path: String

    private static let size = "4g"

    /// Mounts it at an empty directory.
    /// - Throws: ``TortureError`` without the right to mount.
    static func mount(at path: String) async throws -> Volume {
        try await SystemCommand.run("mount", "-t", "tmpfs", "-o", "size=\(size),mode=0700", "tmpfs", path)
        return Volume(path: path)
    }

    /// Makes it full: no file on it can grow by more than a few pages.
    func fill() async throws {
        var last: (any Error)?
        for _ in 0..<50 {
            var status = statvfs()
            guard statvfs(path, &status) == 0 else { throw TortureError("\(path): statvfs failed (errno \(errno))") }
            let used = (status.f_blocks - status.f_bfree) * UInt(status.f_frsize)
            do {
                // It cannot become smaller than what is on it, and that grows meanwhile.
                return try await resize("\(used + 64 * 1024)")
            } catch {
                last = error
            }
        }
        throw last ?? TortureError("\(path) cannot be made full")
    }

    /// Gives it its space back.
    func free() async throws { try await resize(Self.size) }

    private func resize(_ size: String) async throws {
        try await SystemCommand.run("mount", "-o", "remount,size=\(size)", path)
    }

    /// Unmounts it. What is on it is gone.
    func unmount() async throws { try await SystemCommand.run("umount", "-l", path) }
}
