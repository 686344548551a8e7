// Every operation is one script. They share a prelude: the clock, the record's head, the feed.
//
// - The arguments may come as one, a line each. Every script has more than one.
// - KEYS[1] leads the script to its slot. On a Cluster all other keys of a script are in that slot.
// - ARGV[1] is the clock: '' takes the server's, a number is a test's.
// - ARGV[2] is what the keys of the shard start with; ARGV[3] the feed's key, '' on a Cluster, where
//   what belongs into the feed goes to a pending set of the shard first.
// - Key deadlines are relative, and under a test's clock generous: it may stand still for longer than
//   a millisecond of the server's. What is over is over by the clock, not by the key's deadline.
// - A Cluster moves a slot key by key, and looks only at a script's own keys to say where it is run.
//   What needs more of a user than is here is refused with TRYAGAIN before it writes. To ask for a
//   key that is not here is an error there: nothing that was written may fail of it afterwards.
// - The first write of each script is one that a full server refuses, so that it refuses all or none.

const PRELUDE = `
local ARGV = ARGV
if #ARGV == 1 then
  local lines, count = ARGV[1] .. '\\n', 0
  ARGV = {}
  for line in string.gmatch(lines, '([^\\n]*)\\n') do
    count = count + 1
    ARGV[count] = line
  end
end
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = ARGV[1] ~= '' and tonumber(ARGV[1]) or nil
local real = clock()
local LEAST = now and 600000 or 1
if not now then now = real end
local base, feed = ARGV[2], ARGV[3]
local RETENTION = tonumber(ARGV[4])

local HEAD = '<BBI4I4I4ddddddc32c22'
local function unpackRecord(v)
  local s = {}
  local version, flags
  version, flags, s.gen, s.ver, s.dataVer, s.rotatedAt, s.createdAt, s.authTime, s.seen, s.idle, s.abs,
    s.seed, s.user = struct.unpack(HEAD, v)
  s.confirmed = bit.band(flags, 1) ~= 0
  s.remember = bit.band(flags, 2) ~= 0
  local at = 117
  s.attempt, s.binding = '', ''
  if bit.band(flags, 4) ~= 0 then s.attempt = string.sub(v, at, at + 31); at = at + 32 end
  if bit.band(flags, 8) ~= 0 then s.binding = string.sub(v, at, at + 31); at = at + 32 end
  s.rotatedBy = s.binding
  if bit.band(flags, 16) ~= 0 then s.rotatedBy = string.sub(v, at, at + 31); at = at + 32 end
  if bit.band(flags, 32) ~= 0 then s.rotatedBy = '' end
  s.tail = string.sub(v, at)
  return s
end
local function packRecord(s)
  local flags = (s.confirmed and 1 or 0) + (s.remember and 2 or 0)
  local hashes = s.attempt .. s.binding
  if s.attempt ~= '' then flags = flags + 4 end
  if s.binding ~= '' then flags = flags + 8 end
  if s.rotatedBy ~= s.binding then
    if s.rotatedBy == '' then flags = flags + 32 else flags = flags + 16; hashes = hashes .. s.rotatedBy end
  end
  return struct.pack(HEAD, 1, flags, s.gen, s.ver, s.dataVer, s.rotatedAt, s.createdAt, s.authTime,
    s.seen, s.idle, s.abs, s.seed, s.user) .. hashes .. s.tail
end
local function keyOf(sid) return base .. string.sub(sid, 3) end
local function readRecord(sid)
  local v = redis.call('GET', keyOf(sid))
  if not v then return nil end
  local s = unpackRecord(v)
  if now >= s.idle or now >= s.abs then return nil end
  return s, v
end
-- Hashes come as numbers in text: what is sent is text throughout.
local WORDS = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$'
local function hashOf(words)
  if words == '' then return '' end
  return struct.pack('<I4I4I4I4I4I4I4I4', string.match(words, WORDS))
end
local function integer(n) return string.format('%.0f', n) end
local function lifetime(ms) return integer(math.max(LEAST, ms)) end
local function nearer(s) return math.min(s.idle, s.abs) end
local function indexOf(user) return base .. 'u' .. user end
local function writeRecord(sid, s)
  local v = packRecord(s)
  local ends = nearer(s)
  redis.call('SET', keyOf(sid), v, 'PX', lifetime(ends - now))
  return v, ends
end
local function index(sid, s, ends)
  local key = indexOf(s.user)
  redis.call('ZADD', key, integer(ends), sid)
  local left = redis.call('PTTL', key)
  if left < ends - now then redis.call('PEXPIRE', key, lifetime(ends - now)) end
end
local function announce(entries)
  if #entries == 0 then return end
  if feed == '' then
    for i = 1, #entries, 100 do
      redis.call('SADD', base .. 'p', unpack(entries, i, math.min(#entries, i + 99)))
    end
    return
  end
  for i = 1, #entries, 100 do
    redis.call('XADD', feed, 'MINID', '~', integer(real - RETENTION), '*', 'e',
      table.concat(entries, ' ', i, math.min(#entries, i + 99)))
  end
end
local function remove(sids, user)
  for i = 1, #sids do redis.call('DEL', keyOf(sids[i])) end
  for i = 1, #sids, 100 do
    redis.call('ZREM', indexOf(user), unpack(sids, i, math.min(#sids, i + 99)))
  end
end
local function live(user)
  return redis.call('ZRANGEBYSCORE', indexOf(user), '(' .. integer(now), '+inf')
end
local function mark(user)
  redis.call('SET', base .. 'm' .. user, integer(now), 'PX', 600000)
end
local AGAIN = redis.error_reply('TRYAGAIN the keys of this user are on their way to another server')
local function isApart(user, sids)
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
end
local function done(...)
  local reply = {...}
  if feed == '' then
    local pending = redis.pcall('SMEMBERS', base .. 'p')
    if #pending > 0 then return {reply, pending} end
  end
  return {reply}
end
`

/**
 * ARGV: sid, seed, jti, generation, peek, idle timeout. A server out of memory refuses the touch, not
 * the answer.
 */
const CHECK = `
local sid, seed, jti, gen = ARGV[5], hashOf(ARGV[6]), ARGV[7], ARGV[8]
local s, v = readRecord(sid)
if not s then return done('gone') end
if seed ~= '' and seed ~= s.seed then return done('invalid') end
local denied = 0
if jti ~= '' then
  local ends = redis.call('GET', base .. 'd' .. string.sub(sid, 3) .. jti)
  if ends and now < tonumber(ends) then denied = 1 end
end
if denied == 1 or ARGV[9] == '1' then return done('alive', v, denied) end
local touch = now - s.seen >= math.min(60000, tonumber(ARGV[10]) / 2) and not isApart(s.user, {sid})
local confirm = not s.confirmed and gen ~= '' and tonumber(gen) == s.gen
if touch or confirm then
  if confirm then s.confirmed = true end
  if touch then
    s.seen = now
    s.idle = math.min(s.abs, now + tonumber(ARGV[10]))
  end
  local written, value, ends = pcall(writeRecord, sid, s)
  if written then
    v = value
    if touch then index(sid, s, ends) end
  elseif not string.find(type(value) == 'table' and value.err or value, 'OOM', 1, true) then
    error(value)
  end
end
return done('alive', v, denied)
`

/** ARGV: sid, seed, generation, attempt, binding, grace, lost-response window, idle timeout, onReuse. */
const ROTATE = `
local sid, seed, attempt, binding = ARGV[5], hashOf(ARGV[6]), hashOf(ARGV[8]), hashOf(ARGV[9])
local gen = tonumber(ARGV[7])
local s, v = readRecord(sid)
if not s then return done('gone') end
if seed ~= s.seed then return done('invalid', 'seed') end
local distance = s.gen - gen
local changed = binding ~= s.rotatedBy
if distance <= 0 then
  if distance < -16 then return done('invalid', 'ahead') end
  if isApart(s.user, {sid}) then return AGAIN end
  s.gen = gen + 1
  s.rotatedAt = now
  s.rotatedBy = binding
  s.attempt = attempt
  s.confirmed = false
  s.seen = now
  s.idle = math.min(s.abs, now + tonumber(ARGV[12]))
  local ends
  v, ends = writeRecord(sid, s)
  index(sid, s, ends)
  return done(distance == 0 and 'rotated' or 'recovered', v, changed and 1 or 0)
end
local age = math.max(0, now - s.rotatedAt)
if distance == 1 then
  if attempt == s.attempt then return done('replayed', v, 'attempt') end
  if not changed then
    if age < tonumber(ARGV[10]) then return done('replayed', v, 'grace') end
    if not s.confirmed and age < tonumber(ARGV[11]) then return done('replayed', v, 'lost_response') end
  end
end
local ended = ARGV[13] == 'user' and live(s.user) or {sid}
if isApart(s.user, {sid}) or isApart(s.user, ended) then return AGAIN end
if ARGV[13] == 'user' then mark(s.user) end
announce(ended)
remove(ended, s.user)
return done('reused', v, integer(distance), integer(age), ended)
`

/**
 * ARGV: sid, user, seed, binding, remember, the tail's fixed part, idle and absolute timeout, max,
 * onLimit, login age, old sid, old seed, orElse, keepData, replace ('1'), attributes, data.
 */
const CREATE = `
local sid, user, seed, binding = ARGV[5], ARGV[6], hashOf(ARGV[7]), hashOf(ARGV[8])
local repeated, repeatedValue = readRecord(sid)
if repeated then
  if repeated.seed ~= seed then return redis.error_reply('the session id is taken') end
  return done('created', repeatedValue, {})
end
local tail, old = struct.pack('<I2I2', #ARGV[10], #ARGV[21]) .. ARGV[10] .. ARGV[21] .. ARGV[22], nil
if ARGV[20] == '1' then
  local oldSid = ARGV[16]
  local score = redis.call('ZSCORE', indexOf(user), oldSid)
  old = score and readRecord(oldSid) or nil
  if score and not old and isApart(user, {oldSid}) then return AGAIN end
  if old and ARGV[17] ~= '' and hashOf(ARGV[17]) ~= old.seed then old = nil end
  if not old and ARGV[18] == 'refuse' then return done('gone') end
  if old and ARGV[19] == '1' then
    local fixedLength, attributesLength = struct.unpack('<I2I2', old.tail)
    local ownFixed, ownAttributes = struct.unpack('<I2I2', tail)
    tail = string.sub(tail, 1, 4 + ownFixed + ownAttributes)
      .. string.sub(old.tail, 5 + fixedLength + attributesLength)
  end
end
local revokedAt = redis.call('GET', base .. 'm' .. user)
if revokedAt then
  local at, age = tonumber(revokedAt), tonumber(ARGV[15])
  local inForce = now < at + 600000
  if inForce and ((age > 0 and now - age <= at) or now - age < at) then return done('stale_login') end
end
local others = {}
for _, other in ipairs(live(user)) do
  if not old or other ~= ARGV[16] then others[#others + 1] = other end
end
local max = tonumber(ARGV[13])
local ending = {}
if #others >= max then
  if ARGV[14] == 'refuse' then return done('session_limit') end
  if isApart(user, others) then return AGAIN end
  local rows = {}
  for _, other in ipairs(others) do
    local row = readRecord(other)
    rows[#rows + 1] = {sid = other, seen = row and row.seen or 0, created = row and row.createdAt or 0}
  end
  table.sort(rows, function(a, b)
    if a.seen ~= b.seen then return a.seen < b.seen end
    if a.created ~= b.created then return a.created < b.created end
    return a.sid < b.sid
  end)
  for i = 1, #rows - max + 1 do ending[i] = rows[i].sid end
end
if old then ending[#ending + 1] = ARGV[16] end
if isApart(user, ending) then return AGAIN end
local s = {
  gen = 0, ver = 0, dataVer = 0, rotatedAt = now, createdAt = now, authTime = now, seen = now,
  abs = now + tonumber(ARGV[12]), seed = seed, attempt = '', user = user,
  confirmed = false, remember = ARGV[9] == '1',
  binding = binding, rotatedBy = binding, tail = tail,
}
s.idle = math.min(s.abs, now + tonumber(ARGV[11]))
local v, ends = writeRecord(sid, s)
announce(ending)
if #ending > 0 then remove(ending, user) end
redis.call('ZREMRANGEBYSCORE', indexOf(user), '-inf', integer(now))
index(sid, s, ends)
return done('created', v, ending)
`

/** ARGV: sid, 'a' or 'd', expected version, JSON. */
const UPDATE = `
local sid, expected = ARGV[5], tonumber(ARGV[7])
local s, v = readRecord(sid)
if not s then return done('gone') end
local fixedLength, attributesLength = struct.unpack('<I2I2', s.tail)
local fixed = string.sub(s.tail, 5, 4 + fixedLength)
local attributes = string.sub(s.tail, 5 + fixedLength, 4 + fixedLength + attributesLength)
local data = string.sub(s.tail, 5 + fixedLength + attributesLength)
if ARGV[6] == 'a' then
  if s.ver ~= expected then return done('conflict', v) end
  s.ver = s.ver + 1
  attributes = ARGV[8]
else
  if s.dataVer ~= expected then return done('conflict', v) end
  s.dataVer = s.dataVer + 1
  data = ARGV[8]
end
s.tail = struct.pack('<I2I2', #fixed, #attributes) .. fixed .. attributes .. data
if ARGV[6] == 'a' then announce({sid .. '.' .. integer(s.ver)}) end
v = writeRecord(sid, s)
return done('updated', v)
`

/** ARGV: sid, owner, seed. */
const REVOKE = `
local sid, owner, seed = ARGV[5], ARGV[6], hashOf(ARGV[7])
local s, v = readRecord(sid)
if not s or (owner ~= '' and owner ~= s.user) or (seed ~= '' and seed ~= s.seed) then
  return done('gone')
end
if isApart(s.user, {sid}) then return AGAIN end
announce({sid})
remove({sid}, s.user)
return done('revoked', v)
`

/** ARGV: user, the sid that lives on. */
const REVOKE_USER = `
local user, except = ARGV[5], ARGV[6]
local ended = {}
for _, sid in ipairs(live(user)) do
  if sid ~= except then ended[#ended + 1] = sid end
end
if isApart(user, ended) then return AGAIN end
mark(user)
announce(ended)
if #ended > 0 then remove(ended, user) end
return done(ended)
`

/** ARGV: user. Returns the rows with their sids, in no order. */
const LIST = `
local rows = {}
local sids = live(ARGV[5])
if isApart(ARGV[5], sids) then return AGAIN end
for _, sid in ipairs(sids) do
  local s, v = readRecord(sid)
  if s then rows[#rows + 1] = sid; rows[#rows + 1] = v end
end
return done(rows)
`

/** ARGV: sid, jti, end, whether the feed is told. */
const DENY = `
local key = base .. 'd' .. string.sub(ARGV[5], 3) .. ARGV[6]
local ends = math.max(tonumber(ARGV[7]), tonumber(redis.call('GET', key) or '0'))
if ends > now then redis.call('SET', key, integer(ends), 'PX', lifetime(ends - now)) end
if tonumber(ARGV[7]) > now and ARGV[8] == '1' then announce({ARGV[6]}) end
return done('denied')
`

/** ARGV: sid, jti. */
const IS_DENIED = `
local ends = redis.call('GET', base .. 'd' .. string.sub(ARGV[5], 3) .. ARGV[6])
return done(ends and now < tonumber(ends) and 1 or 0)
`

/** Fills the feed on a Cluster. KEYS[1]: the feed. ARGV: entries. */
const APPEND = `
local entries = {}
for i = 5, #ARGV do entries[#entries + 1] = ARGV[i] end
feed = KEYS[1]
announce(entries)
return {{'appended'}}
`

/** KEYS[1]: the counter. ARGV: cost, window. */
const TAKE = `
local used, ends = 0, nil
local value = redis.call('GET', KEYS[1])
if value then
  local at = string.find(value, ':', 1, true)
  ends = tonumber(string.sub(value, at + 1))
  if now < ends then used = tonumber(string.sub(value, 1, at - 1)) else ends = nil end
end
if not ends then ends = now + tonumber(ARGV[6]) end
used = used + tonumber(ARGV[5])
redis.call('SET', KEYS[1], string.format('%.17g', used) .. ':' .. integer(ends), 'PX',
  lifetime(ends - now))
return {{string.format('%.17g', used), integer(ends - now)}}
`

/** KEYS[1]: the document. KEYS[2]: the feed, in the same slot. ARGV: expected version, document, the entry's name. */
const SAVE_KEYS = `
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or '0')
if version ~= tonumber(ARGV[5]) then return {{0}} end
redis.call('HSET', KEYS[1], 'd', ARGV[6], 'v', integer(version + 1))
feed = KEYS[2]
announce({ARGV[7] .. '.' .. integer(version + 1)})
return {{1}}
`

/** KEYS[1]: the document. */
const LOAD_KEYS = `
return {redis.call('HMGET', KEYS[1], 'v', 'd')}
`

/** KEYS[1]: the trail. ARGV: about how many to keep, then user, session, type, time, JSON of each event. */
const AUDIT_APPEND = `
for i = 6, #ARGV, 5 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[5], '*', 'u', ARGV[i], 's', ARGV[i + 1],
    't', ARGV[i + 2], 'a', ARGV[i + 3], 'j', ARGV[i + 4])
end
return {{'appended'}}
`

/** KEYS[1]: the trail. ARGV: from where back, user, session, type, not before, before, how many. */
const AUDIT_QUERY = `
local at, found, last, seen = ARGV[5], {}, nil, 0
local limit = tonumber(ARGV[11])
while seen < 10000 do
  local batch = redis.call('XREVRANGE', KEYS[1], at, '-', 'COUNT', 500)
  if #batch == 0 then return {{found, ''}} end
  for _, entry in ipairs(batch) do
    local f = entry[2]
    local time = tonumber(f[8])
    if (ARGV[6] == '' or f[2] == ARGV[6]) and (ARGV[7] == '' or f[4] == ARGV[7])
      and (ARGV[8] == '' or f[6] == ARGV[8]) and (ARGV[9] == '' or time >= tonumber(ARGV[9]))
      and (ARGV[10] == '' or time < tonumber(ARGV[10])) then
      if #found == limit then return {{found, last}} end
      found[#found + 1] = f[10]
    end
    last = entry[1]
    seen = seen + 1
  end
  at = '(' .. batch[#batch][1]
end
return {{found, last}}
`

/** The name of a script. */
export type ScriptName =
  | 'check'
  | 'rotate'
  | 'create'
  | 'update'
  | 'revoke'
  | 'revokeUser'
  | 'list'
  | 'deny'
  | 'isDenied'
  | 'append'
  | 'take'
  | 'saveKeys'
  | 'loadKeys'
  | 'auditAppend'
  | 'auditQuery'

const BODIES: Readonly<Record<ScriptName, string>> = {
  check: CHECK,
  rotate: ROTATE,
  create: CREATE,
  update: UPDATE,
  revoke: REVOKE,
  revokeUser: REVOKE_USER,
  list: LIST,
  deny: DENY,
  isDenied: IS_DENIED,
  append: APPEND,
  take: TAKE,
  saveKeys: SAVE_KEYS,
  loadKeys: LOAD_KEYS,
  auditAppend: AUDIT_APPEND,
  auditQuery: AUDIT_QUERY,
}

/** The whole text of a script. */
export function scriptOf(name: ScriptName): string {
  return PRELUDE + BODIES[name]
}

/** The names of all scripts. */
export function scriptNames(): ScriptName[] {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of the record above
  return Object.keys(BODIES) as ScriptName[]
}
