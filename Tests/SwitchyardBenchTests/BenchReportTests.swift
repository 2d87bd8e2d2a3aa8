import JSON
import SwitchyardBench
import Testing

/// The statistics of a report.
@Suite struct BenchReportTests {
    private let report = BenchReport(
        circumstances: ["runs": JSONValue(3)],
        chapters: [
            .init(
                title: "floor", figures: [Figure(["floor", "fcall_us"], "FCALL", .microseconds, [1, 2, 9])]),
            .init(
                title: "life",
                figures: [
                    Figure(["redis_us", "single"], "life", .microseconds, [30, 50], floor: .call),
                    Figure(["rate"], "rate", .perSecond, [50_000], floor: .call),
                    Figure(["other"], nil, .count, [7], floor: .life),
                ]),
        ])

    @Test func aFigureIsTheMedianOfItsRuns() {
        #expect(report.json["floor"]?["fcall_us"]?.double == 2)
        #expect(report.json["redis_us"]?["single"]?.double == 40)
        #expect(report.json["spread"]?["redis_us"]?["single"] == JSONValue.array([JSONValue(30), JSONValue(50)]))
        #expect(report.json["runs"]?.int == 3)
    }

    @Test func aFigureStandsBesideItsFloor() {
        #expect(report.json["ratios"]?["redis_us"]?["single"]?["ratio"]?.double == 20)
        // The floor is 20 µs a task.
        #expect(report.json["ratios"]?["rate"]?["ratio"]?.double == 10)
        #expect(report.json["ratios"]?["other"] == nil)
    }
}
