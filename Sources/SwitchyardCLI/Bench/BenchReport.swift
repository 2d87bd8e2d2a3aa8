/// The benchmark's figures as a table or JSON.
extension BenchSuite.Report {
    func tables(colour: Bool) -> String {
        var table = Table([
            .text("OPERATION"), .number("PER CALL"), .number("CALLERS"), .number("TASKS/S"), .number("REDIS µS/TASK"),
            .number("COMMANDS/TASK"),
        ])
        table.rows = rows.map { row in
            let isLife = row.operation == "whole life"
            return [
                Table.Cell(row.operation, isLife ? .bold : nil), "\(row.perCall)", "\(row.callers)",
                Table.Cell("\(Int(row.sample.perSecond))"),
                Table.Cell(Self.tenths(row.sample.cpuMicroseconds), isLife ? .bold : nil),
                Table.Cell(Self.tenths(row.sample.commands)),
            ]
        }
        var floor = Table([.text(""), .number("")])
        floor.rows = [
            ["bytes per pending task (payload \(BenchLoad.payloadBytes))", "\(Int(bytesPerPendingTask.rounded()))"],
            ["floor: PING, pipelined, Redis µs", Table.Cell(Self.tenths(pingMicroseconds))],
            ["floor: empty FCALL, pipelined, Redis µs", Table.Cell(Self.tenths(emptyCallMicroseconds))],
        ]
        return table.render(colour: colour) + "\n" + floor.render(colour: colour)
    }

    func json(tasks: Int, runs: Int) -> JSONValue {
        .object([
            "redis_version": .string(redisVersion), "tasks": .integer(Int64(tasks)), "runs": .integer(Int64(runs)),
            "payload_bytes": .integer(Int64(BenchLoad.payloadBytes)),
            "bytes_per_pending_task": .number(bytesPerPendingTask.rounded()),
            "floor": .object([
                "ping_redis_us": .number(Self.rounded(pingMicroseconds)),
                "empty_fcall_redis_us": .number(Self.rounded(emptyCallMicroseconds)),
            ]),
            "results": .array(
                rows.map { row in
                    .object([
                        "operation": .string(row.operation), "per_call": .integer(Int64(row.perCall)),
                        "callers": .integer(Int64(row.callers)),
                        "tasks_per_second": .number(row.sample.perSecond.rounded()),
                        "redis_us_per_task": .number(Self.rounded(row.sample.cpuMicroseconds)),
                        "commands_per_task": .number(Self.rounded(row.sample.commands)),
                    ])
                }),
        ])
    }

    private static func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }

    private static func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(abs(tenths) % 10)"
    }
}
