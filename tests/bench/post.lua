-- wrk's script of the admission benchmark: posts the reviews of a file, one per line, in turn, and prints one line of JSON.
local requests, at = {}, 0

function init(arguments)
  local headers = { ["Host"] = "localhost", ["Content-Type"] = "application/json" }
  for review in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", "/mutate", headers, review)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

-- Times are in microseconds.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "failed": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
