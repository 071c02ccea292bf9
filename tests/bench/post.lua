-- wrk's side of the admission benchmark: posts the reviews of a file, one a line, in turn, and prints one line of JSON.
-- The second argument is each connection's mean pause between an answer and the next review, in milliseconds.
local requests, at, pause = {}, 0, 0

function init(arguments)
  local headers = { ["Host"] = "localhost", ["Content-Type"] = "application/json" }
  for review in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", "/mutate", headers, review)
  end
  pause = tonumber(arguments[2])
  -- wrk waits before each request of a script that has this, if only for nothing.
  if pause == 0 then delay = nil end
end

-- Whole milliseconds, which is all that wrk takes, and at random, so that connections don't fall into step.
function delay()
  return math.floor(2 * pause * math.random() + math.random())
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
