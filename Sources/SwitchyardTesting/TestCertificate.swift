import ChildProcess
import Foundation

/// A certificate for `localhost` and 127.0.0.1 that is its own authority, and its key, made with `openssl`.
public struct TestCertificate: Sendable {
    /// The file with the certificate.
    public let path: String
    private let key: String

    /// Makes a certificate that is valid for two days.
    /// - Parameter directory: where its files are made. They are removed with it.
    public static func make(in directory: String) async throws -> TestCertificate {
        let made = TestCertificate(path: "\(directory)/certificate.pem", key: "\(directory)/key.pem")
        let command = ChildProcess.Command(
            arguments: [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout", made.key, "-out", made.path,
            ], environment: FarmMember.environment)
        let child = try await ChildProcess.start(command)
        child.discardOutput()
        let status = await child.waitForExit()
        guard FileManager.default.fileExists(atPath: made.path) else {
            throw FarmMember.Failure("openssl made no certificate: \(status)")
        }
        return made
    }

    /// The options of a redis-server that speaks only TLS, on one port.
    func options(port: Int) -> [(name: String, value: String)] {
        [
            ("port", "0"), ("tls-port", "\(port)"), ("tls-cert-file", path), ("tls-key-file", key),
            ("tls-ca-cert-file", path), ("tls-auth-clients", "no"), ("tls-replication", "yes"),
        ]
    }
}
