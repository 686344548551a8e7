import type { Attributes, NewSession, SessionRecord } from '../../lib/session.ts'

/**
 * How a session stands in Redis: one binary string, because a hash with texts over 64 bytes costs
 * twice as much. The scripts read and write the head; the tail is theirs to carry, not to read.
 *
 *     0  u8   format, 1          14  f64  rotatedAt      62   32  seed hash
 *     1  u8   flags              22  f64  createdAt      94   22  the user's name in keys
 *     2  u32  generation         30  f64  authTime       116  32  attempt hash, if flagged
 *     6  u32  ver                38  f64  lastSeenAt      …   32  binding hash, if flagged
 *     10 u32  dataVer            46  f64  idleDeadline    …   32  rotatedBy, if flagged
 *                                54  f64  absolute …      …   tail
 *
 *     tail: u16 length of the fixed part, u16 length of the attributes, then fixed part,
 *     attributes and data as JSON. All numbers are little-endian.
 */
export const FLAGS = {
  confirmed: 1,
  remember: 2,
  attempt: 4,
  binding: 8,
  /** The device that made the last generation has a binding of its own, unlike the login's. */
  otherDevice: 16,
  /** The device that made the last generation sent no binding. */
  noDevice: 32,
} as const

const HEAD_END = 116
const HASH_BYTES = 32
/** What two bytes of length can say. */
const MAX_PART_BYTES = 0xffff

type Fixed = readonly [tenant: string, id: string, label: string | null, ip: string | null]

/**
 * A hash as the scripts take it: in hexadecimal. ioredis sends a batch with a buffer in it as buffers, at
 * twice the price for this process.
 */
export function hexOf(hash: string | null): string {
  return hash === null ? '' : Buffer.from(hash, 'base64url').toString('hex')
}

/** The parts of a new session's tail, which the script puts together. */
export function encodeTail(session: NewSession): [fixed: string, attributes: string, data: string] {
  const { user, device, attributes, data } = session
  const fixed: Fixed = [user.tenant, user.id, device.label, device.ip]
  const texts = [JSON.stringify(fixed), encodeAttributes(attributes)] as const
  for (const text of texts) {
    if (Buffer.byteLength(text) > MAX_PART_BYTES) throw new RangeError('a session is too large')
  }
  return [...texts, data === null ? '' : JSON.stringify(data)]
}

/** Attributes as JSON, by position: the names would cost more than what they name. */
export function encodeAttributes({ roles, scope, level, amr, claims }: Attributes): string {
  return JSON.stringify([roles, scope, level, amr, claims])
}

/** Reads a session. The session id is the key's, not the value's. */
export function decodeRecord(sid: string, value: Buffer): SessionRecord {
  if (value[0] !== 1) throw new Error('a session of an unknown format')
  const flags = value[1] ?? 0
  const has = (flag: number) => (flags & flag) !== 0
  let at = HEAD_END
  const take = (encoding: 'base64url' | 'utf8', bytes: number) =>
    value.toString(encoding, at, (at += bytes))
  const attemptHash = has(FLAGS.attempt) ? take('base64url', HASH_BYTES) : null
  const bindingHash = has(FLAGS.binding) ? take('base64url', HASH_BYTES) : null
  const otherDevice = has(FLAGS.otherDevice) ? take('base64url', HASH_BYTES) : null
  const [fixedBytes, attributesBytes] = [value.readUInt16LE(at), value.readUInt16LE(at + 2)]
  at += 4
  const fixed: Fixed = JSON.parse(take('utf8', fixedBytes))
  const [roles, scope, level, amr, claims] = parseAttributes(take('utf8', attributesBytes))
  const [tenant, id, label, ip] = fixed
  const absoluteDeadline = value.readDoubleLE(54)
  return {
    sid,
    user: { tenant, id },
    generation: value.readUInt32LE(2),
    ver: value.readUInt32LE(6),
    dataVer: value.readUInt32LE(10),
    rotatedAt: value.readDoubleLE(14),
    createdAt: value.readDoubleLE(22),
    authTime: value.readDoubleLE(30),
    lastSeenAt: value.readDoubleLE(38),
    idleDeadline: value.readDoubleLE(46),
    absoluteDeadline,
    seedHash: value.toString('base64url', 62, 62 + HASH_BYTES),
    attemptHash,
    confirmed: has(FLAGS.confirmed),
    remember: has(FLAGS.remember),
    bindingHash,
    rotatedBy: has(FLAGS.noDevice) ? null : (otherDevice ?? bindingHash),
    attributes: { roles, scope, level, amr, claims },
    data: at === value.length ? null : JSON.parse(value.toString('utf8', at)),
    device: { label, ip },
  }
}

function parseAttributes(
  text: string,
): [
  Attributes['roles'],
  Attributes['scope'],
  Attributes['level'],
  Attributes['amr'],
  Attributes['claims'],
] {
  return JSON.parse(text)
}
