// What the scripts share. A script has those parts that it names, and no others: a server makes each
// function anew at every call.

const WORD = '(%x%x%x%x%x%x%x%x)'
const EIGHT = (text: string) => Array.from({ length: 8 }, () => text)

/** How much longer an index is kept than it must be, so that it need not be prolonged at every write. */
const INDEX_SLACK_MS = 3_600_000

/** One function or constant each, after those that it names itself. */
const PARTS = [
  `local HEAD = '<BBI4I4I4ddddddc32c22'`,
  `local function unpackRecord(v)
  local _, flags, gen, ver, dataVer, rotatedAt, createdAt, authTime, seen, idle, abs, seed, user =
    struct.unpack(HEAD, v)
  local at, attempt, binding = 117, '', ''
  if bit.band(flags, 4) ~= 0 then attempt = string.sub(v, at, at + 31); at = at + 32 end
  if bit.band(flags, 8) ~= 0 then binding = string.sub(v, at, at + 31); at = at + 32 end
  local rotatedBy = binding
  if bit.band(flags, 16) ~= 0 then rotatedBy = string.sub(v, at, at + 31); at = at + 32 end
  if bit.band(flags, 32) ~= 0 then rotatedBy = '' end
  return {
    gen = gen, ver = ver, dataVer = dataVer, rotatedAt = rotatedAt, createdAt = createdAt,
    authTime = authTime, seen = seen, idle = idle, abs = abs, seed = seed, user = user,
    confirmed = bit.band(flags, 1) ~= 0, remember = bit.band(flags, 2) ~= 0,
    attempt = attempt, binding = binding, rotatedBy = rotatedBy, tail = string.sub(v, at),
  }
end`,
  `local function packRecord(s)
  local flags = (s.confirmed and 1 or 0) + (s.remember and 2 or 0)
  local hashes = s.attempt .. s.binding
  if s.attempt ~= '' then flags = flags + 4 end
  if s.binding ~= '' then flags = flags + 8 end
  if s.rotatedBy ~= s.binding then
    if s.rotatedBy == '' then flags = flags + 32 else flags = flags + 16; hashes = hashes .. s.rotatedBy end
  end
  return struct.pack(HEAD, 1, flags, s.gen, s.ver, s.dataVer, s.rotatedAt, s.createdAt, s.authTime,
    s.seen, s.idle, s.abs, s.seed, s.user) .. hashes .. s.tail
end`,
  `local function keyOf(sid) return base .. string.sub(sid, 3) end`,
  `local function readRecord(sid)
  local v = redis.call('GET', keyOf(sid))
  if not v then return nil end
  local s = unpackRecord(v)
  if now >= s.idle or now >= s.abs then return nil end
  return s, v
end`,
  // Hashes come in hexadecimal: what is sent is text throughout.
  `local function hashOf(hex)
  if hex == '' then return '' end
  local a, b, c, d, e, f, g, h = string.match(hex, '^${EIGHT(WORD).join('')}$')
  return struct.pack('>${EIGHT('I4').join('')}', tonumber(a, 16), tonumber(b, 16), tonumber(c, 16),
    tonumber(d, 16), tonumber(e, 16), tonumber(f, 16), tonumber(g, 16), tonumber(h, 16))
end`,
  `local function isHashOf(hash, hex)
  return hex == string.format('${EIGHT('%08x').join('')}', struct.unpack('>${EIGHT('I4').join('')}', hash))
end`,
  `local function integer(n) return string.format('%.0f', n) end`,
  `local LEAST = clock == '' and 1 or 600000`,
  `local function lifetime(ms) return integer(math.max(LEAST, ms)) end`,
  `local function indexOf(user) return base .. 'u' .. user end`,
  `local function writeRecord(sid, s)
  local v = packRecord(s)
  local ends = math.min(s.idle, s.abs)
  redis.call('SET', keyOf(sid), v, 'PX', lifetime(ends - now))
  return v, ends
end`,
  `local function index(sid, s, ends)
  local key = indexOf(s.user)
  redis.call('ZADD', key, integer(ends), sid)
  if redis.call('PTTL', key) < ends - now then
    redis.call('PEXPIRE', key, lifetime(ends - now + ${INDEX_SLACK_MS}))
  end
end`,
  `local function announce(entries)
  if #entries == 0 then return end
  if feed == '' then
    for i = 1, #entries, 100 do
      redis.call('SADD', base .. 'p', unpack(entries, i, math.min(#entries, i + 99)))
    end
    return
  end
  local oldest = integer(real - tonumber(retention))
  for i = 1, #entries, 100 do
    redis.call('XADD', feed, 'MINID', '~', oldest, '*', 'e',
      table.concat(entries, ' ', i, math.min(#entries, i + 99)))
  end
end`,
  `local function remove(sids, user)
  for i = 1, #sids do redis.call('DEL', keyOf(sids[i])) end
  for i = 1, #sids, 100 do
    redis.call('ZREM', indexOf(user), unpack(sids, i, math.min(#sids, i + 99)))
  end
end`,
  `local function live(user)
  return redis.call('ZRANGEBYSCORE', indexOf(user), '(' .. integer(now), '+inf')
end`,
  `local function mark(user)
  redis.call('SET', base .. 'm' .. user, integer(now), 'PX', 600000)
end`,
  `local AGAIN = redis.error_reply('TRYAGAIN the keys of this user are on their way to another server')`,
  `local function isApart(user, sids)
  if feed ~= '' then return false end
  local missing = false
  for _, sid in ipairs(sids) do
    if redis.call('EXISTS', keyOf(sid)) == 0 or not redis.call('ZSCORE', indexOf(user), sid) then
      missing = true
    end
  end
  if not missing then return false end
  local nodes = redis.pcall('CLUSTER', 'NODES')
  return type(nodes) == 'string' and string.find(nodes, '%[%d+%-[<>]%-') ~= nil
end`,
  `local function done(...)
  if feed == '' then
    local pending = redis.pcall('SMEMBERS', base .. 'p')
    if #pending > 0 then return {{...}, pending} end
  end
  return {{...}}
end`,
]

/** What all scripts are given before their own arguments. */
const COMMON = ['clock', 'base', 'retention']

/**
 * The whole text of a script: its arguments by name, the time, the parts it needs, and its body.
 *
 * @param names - its own arguments; those beyond them are for the script to take from `ARGV`
 */
export function composeScript(names: readonly string[], body: string): string {
  const needed: string[] = []
  for (const part of PARTS.toReversed()) {
    const name = /^local (?:function )?(\w+)/.exec(part)?.[1] ?? ''
    if (new RegExp(`\\b${name}\\b`).test(needed.join('\n') + body)) needed.unshift(part)
  }
  const all = [...COMMON, ...names]
  const lines = all.map(() => '([^\\n]*)').join('\\n')
  return `local ${all.join(', ')}
if #ARGV == 1 then
  ${all.join(', ')} = string.match(ARGV[1], '^${lines}$')
else
  ${all.join(', ')} = unpack(ARGV, 1, ${all.length})
end
local feed = KEYS[2] or ''
local time = redis.call('TIME')
local real = time[1] * 1000 + math.floor(time[2] / 1000)
local now = clock == '' and real or tonumber(clock)
${needed.join('\n')}
${body.trim()}
`
}
