-- One request, again and again, as the environment describes it; the result as a line of JSON.
wrk.method = os.getenv("METHOD")
wrk.body = os.getenv("BODY")
for name, value in string.gmatch(os.getenv("HEADERS"), "([^:\n]+): ([^\n]+)") do
    wrk.headers[name] = value
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "max": %f, "refused": %d, "broken": %d}\n',
        summary.requests, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
