-- Takes the credentials of a file in turns: one a line, each a header line.
local requests = {}
local turn = 0

function init(args)
  for line in io.lines(args[1]) do
    local headers = {}
    local name, value = line:match('^([^:]+): (.*)$')
    if name then headers[name] = value end
    requests[#requests + 1] = wrk.format('GET', nil, headers)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests":%d,"micros":%d,"failed":%d,"p50":%.3f,"p99":%.3f}',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
