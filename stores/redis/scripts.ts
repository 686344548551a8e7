// Every operation is one script.
//
// - Its arguments have names; they may come as one text, a line each. Every script has more than one.
// - KEYS[1] leads the script to its slot. On a Cluster all other keys of a script are in that slot.
// - `clock` is '' for the server's own, or a test's number. `base` is what the keys of the shard start
//   with. `feed`, KEYS[2], is '' on a Cluster, where what belongs into the feed goes to a pending set
//   of the shard first.
// - Key deadlines are relative, and under a test's clock generous: it may stand still for longer than
//   a millisecond of the server's. What is over is over by the clock, not by the key's deadline.
// - A Cluster moves a slot key by key, and looks only at a script's own keys to say where it is run.
//   What needs more of a user than is here is refused with TRYAGAIN before it writes. To ask for a
//   key that is not here is an error there: nothing that was written may fail of it afterwards.
// - The first write of each script is one that a full server refuses, so that it refuses all or none.
import { composeScript } from './script-parts.ts'

/** A server out of memory refuses the touch, not the answer. */
const CHECK = composeScript(
  ['sid', 'seed', 'jti', 'generation', 'peek', 'idleTimeout'],
  `
local s, v = readRecord(sid)
if not s then return done('gone') end
if seed ~= '' and not isHashOf(s.seed, seed) then return done('invalid') end
local denied = 0
if jti ~= '' then
  local ends = redis.call('GET', base .. 'd' .. string.sub(sid, 3) .. jti)
  if ends and now < tonumber(ends) then denied = 1 end
end
if denied == 1 or peek == '1' then return done('alive', v, denied) end
local touch = now - s.seen >= math.min(60000, tonumber(idleTimeout) / 2) and not isApart(s.user, {sid})
local confirm = not s.confirmed and generation ~= '' and tonumber(generation) == s.gen
if touch or confirm then
  if confirm then s.confirmed = true end
  if touch then
    s.seen = now
    s.idle = math.min(s.abs, now + tonumber(idleTimeout))
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
`,
)

const ROTATE = composeScript(
  [
    'sid',
    'seed',
    'generation',
    'attemptHash',
    'bindingHash',
    'grace',
    'lostResponse',
    'idleTimeout',
    'onReuse',
  ],
  `
local s, v = readRecord(sid)
if not s then return done('gone') end
if not isHashOf(s.seed, seed) then return done('invalid', 'seed') end
local gen, attempt, binding = tonumber(generation), hashOf(attemptHash), hashOf(bindingHash)
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
  s.idle = math.min(s.abs, now + tonumber(idleTimeout))
  local ends
  v, ends = writeRecord(sid, s)
  index(sid, s, ends)
  return done(distance == 0 and 'rotated' or 'recovered', v, changed and 1 or 0)
end
local age = math.max(0, now - s.rotatedAt)
if distance == 1 then
  if attempt == s.attempt then return done('replayed', v, 'attempt') end
  if not changed then
    if age < tonumber(grace) then return done('replayed', v, 'grace') end
    if not s.confirmed and age < tonumber(lostResponse) then return done('replayed', v, 'lost_response') end
  end
end
local ended = onReuse == 'user' and live(s.user) or {sid}
if isApart(s.user, {sid}) or isApart(s.user, ended) then return AGAIN end
if onReuse == 'user' then mark(s.user) end
announce(ended)
remove(ended, s.user)
return done('reused', v, integer(distance), integer(age), ended)
`,
)

/** `fixed`, `attributes` and `data` are the parts of the tail. `oldSid` to `keepData` are for `replace`, '1'. */
const CREATE = composeScript(
  [
    'sid',
    'user',
    'seed',
    'bindingHash',
    'remember',
    'fixed',
    'idleTimeout',
    'absoluteTimeout',
    'max',
    'onLimit',
    'loginAge',
    'oldSid',
    'oldSeed',
    'orElse',
    'keepData',
    'replace',
    'attributes',
    'data',
  ],
  `
local repeated, repeatedValue = readRecord(sid)
if repeated then
  if not isHashOf(repeated.seed, seed) then return redis.error_reply('the session id is taken') end
  return done('created', repeatedValue, {})
end
local tail, old = struct.pack('<I2I2', #fixed, #attributes) .. fixed .. attributes .. data, nil
if replace == '1' then
  local score = redis.call('ZSCORE', indexOf(user), oldSid)
  old = score and readRecord(oldSid) or nil
  if score and not old and isApart(user, {oldSid}) then return AGAIN end
  if old and oldSeed ~= '' and not isHashOf(old.seed, oldSeed) then old = nil end
  if not old and orElse == 'refuse' then return done('gone') end
  if old and keepData == '1' then
    local fixedLength, attributesLength = struct.unpack('<I2I2', old.tail)
    local ownFixed, ownAttributes = struct.unpack('<I2I2', tail)
    tail = string.sub(tail, 1, 4 + ownFixed + ownAttributes)
      .. string.sub(old.tail, 5 + fixedLength + attributesLength)
  end
end
local revokedAt = redis.call('GET', base .. 'm' .. user)
if revokedAt then
  local at, age = tonumber(revokedAt), tonumber(loginAge)
  local inForce = now < at + 600000
  if inForce and ((age > 0 and now - age <= at) or now - age < at) then return done('stale_login') end
end
local others = {}
for _, other in ipairs(live(user)) do
  if not old or other ~= oldSid then others[#others + 1] = other end
end
local ending, most = {}, tonumber(max)
if #others >= most then
  if onLimit == 'refuse' then return done('session_limit') end
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
  for i = 1, #rows - most + 1 do ending[i] = rows[i].sid end
end
if old then ending[#ending + 1] = oldSid end
if isApart(user, ending) then return AGAIN end
local binding = hashOf(bindingHash)
local s = {
  gen = 0, ver = 0, dataVer = 0, rotatedAt = now, createdAt = now, authTime = now, seen = now,
  abs = now + tonumber(absoluteTimeout), seed = hashOf(seed), attempt = '', user = user,
  confirmed = false, remember = remember == '1',
  binding = binding, rotatedBy = binding, tail = tail,
}
s.idle = math.min(s.abs, now + tonumber(idleTimeout))
local v, ends = writeRecord(sid, s)
announce(ending)
if #ending > 0 then remove(ending, user) end
redis.call('ZREMRANGEBYSCORE', indexOf(user), '-inf', integer(now))
index(sid, s, ends)
return done('created', v, ending)
`,
)

/** `part` is 'a' for attributes or 'd' for data. */
const UPDATE = composeScript(
  ['sid', 'part', 'expected', 'json'],
  `
local s, v = readRecord(sid)
if not s then return done('gone') end
local fixedLength, attributesLength = struct.unpack('<I2I2', s.tail)
local fixed = string.sub(s.tail, 5, 4 + fixedLength)
local attributes = string.sub(s.tail, 5 + fixedLength, 4 + fixedLength + attributesLength)
local data = string.sub(s.tail, 5 + fixedLength + attributesLength)
if part == 'a' then
  if s.ver ~= tonumber(expected) then return done('conflict', v) end
  s.ver = s.ver + 1
  attributes = json
else
  if s.dataVer ~= tonumber(expected) then return done('conflict', v) end
  s.dataVer = s.dataVer + 1
  data = json
end
s.tail = struct.pack('<I2I2', #fixed, #attributes) .. fixed .. attributes .. data
if part == 'a' then announce({sid .. '.' .. integer(s.ver)}) end
v = writeRecord(sid, s)
return done('updated', v)
`,
)

const REVOKE = composeScript(
  ['sid', 'owner', 'seed'],
  `
local s, v = readRecord(sid)
if not s or (owner ~= '' and owner ~= s.user) or (seed ~= '' and not isHashOf(s.seed, seed)) then
  return done('gone')
end
if isApart(s.user, {sid}) then return AGAIN end
announce({sid})
remove({sid}, s.user)
return done('revoked', v)
`,
)

const REVOKE_USER = composeScript(
  ['user', 'except'],
  `
local ended = {}
for _, sid in ipairs(live(user)) do
  if sid ~= except then ended[#ended + 1] = sid end
end
if isApart(user, ended) then return AGAIN end
mark(user)
announce(ended)
if #ended > 0 then remove(ended, user) end
return done(ended)
`,
)

/** Returns the rows with their sids, in no order. */
const LIST = composeScript(
  ['user'],
  `
local rows = {}
local sids = live(user)
if isApart(user, sids) then return AGAIN end
for _, sid in ipairs(sids) do
  local s, v = readRecord(sid)
  if s then rows[#rows + 1] = sid; rows[#rows + 1] = v end
end
return done(rows)
`,
)

/** The feed is told if `isTold` is '1'. */
const DENY = composeScript(
  ['sid', 'jti', 'expiresAt', 'isTold'],
  `
local key = base .. 'd' .. string.sub(sid, 3) .. jti
local ends = math.max(tonumber(expiresAt), tonumber(redis.call('GET', key) or '0'))
if ends > now then redis.call('SET', key, integer(ends), 'PX', lifetime(ends - now)) end
if tonumber(expiresAt) > now and isTold == '1' then announce({jti}) end
return done('denied')
`,
)

const IS_DENIED = composeScript(
  ['sid', 'jti'],
  `
local ends = redis.call('GET', base .. 'd' .. string.sub(sid, 3) .. jti)
return done(ends and now < tonumber(ends) and 1 or 0)
`,
)

/** Fills the feed on a Cluster. KEYS[1]: the feed. Further arguments: entries. */
const APPEND = composeScript(
  [],
  `
local entries = {}
for i = 4, #ARGV do entries[#entries + 1] = ARGV[i] end
feed = KEYS[1]
announce(entries)
return {{'appended'}}
`,
)

/** KEYS[1]: the counter. */
const TAKE = composeScript(
  ['cost', 'window'],
  `
local used, ends = 0, nil
local value = redis.call('GET', KEYS[1])
if value then
  local at = string.find(value, ':', 1, true)
  ends = tonumber(string.sub(value, at + 1))
  if now < ends then used = tonumber(string.sub(value, 1, at - 1)) else ends = nil end
end
if not ends then ends = now + tonumber(window) end
used = used + tonumber(cost)
redis.call('SET', KEYS[1], string.format('%.17g', used) .. ':' .. integer(ends), 'PX',
  lifetime(ends - now))
return {{string.format('%.17g', used), integer(ends - now)}}
`,
)

/** KEYS[1]: the document. KEYS[2]: the feed, in the same slot. */
const SAVE_KEYS = composeScript(
  ['expected', 'document', 'entry'],
  `
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or '0')
if version ~= tonumber(expected) then return {{0}} end
redis.call('HSET', KEYS[1], 'd', document, 'v', integer(version + 1))
announce({entry .. '.' .. integer(version + 1)})
return {{1}}
`,
)

/** KEYS[1]: the document. */
const LOAD_KEYS = composeScript(
  [],
  `
return {redis.call('HMGET', KEYS[1], 'v', 'd')}
`,
)

/** KEYS[1]: the trail. Further arguments: user, session, type, time and JSON of each event. */
const AUDIT_APPEND = composeScript(
  ['max'],
  `
for i = 5, #ARGV, 5 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', max, '*', 'u', ARGV[i], 's', ARGV[i + 1],
    't', ARGV[i + 2], 'a', ARGV[i + 3], 'j', ARGV[i + 4])
end
return {{'appended'}}
`,
)

/** KEYS[1]: the trail. `from` is where it goes back from. */
const AUDIT_QUERY = composeScript(
  ['from', 'user', 'session', 'wanted', 'notBefore', 'before', 'limit'],
  `
local at, found, last, seen = from, {}, nil, 0
local limit = tonumber(limit)
while seen < 10000 do
  local batch = redis.call('XREVRANGE', KEYS[1], at, '-', 'COUNT', 500)
  if #batch == 0 then return {{found, ''}} end
  for _, entry in ipairs(batch) do
    local f = entry[2]
    local time = tonumber(f[8])
    if (user == '' or f[2] == user) and (session == '' or f[4] == session)
      and (wanted == '' or f[6] == wanted) and (notBefore == '' or time >= tonumber(notBefore))
      and (before == '' or time < tonumber(before)) then
      if #found == limit then return {{found, last}} end
      found[#found + 1] = f[10]
    end
    last = entry[1]
    seen = seen + 1
  end
  at = '(' .. batch[#batch][1]
end
return {{found, last}}
`,
)

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

const SCRIPTS: Readonly<Record<ScriptName, string>> = {
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
  return SCRIPTS[name]
}

/** The names of all scripts. */
export function scriptNames(): ScriptName[] {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of the record above
  return Object.keys(SCRIPTS) as ScriptName[]
}
