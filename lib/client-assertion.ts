import { compactVerify } from 'jose'
import type { VerificationKey } from './access-token-format.ts'
import { parseJsonObject, readHeader } from './access-token-format.ts'
import { ASSERTION_ALGORITHMS } from './assertion-algorithms.ts'
import { ConfigError } from './errors.ts'
import { isIdentifier } from './identifier.ts'
import type { Service, ServiceKit } from './service.ts'
import { isService } from './service.ts'
import type { SigningJwk } from './signing-key.ts'
import { parseSigningKey } from './signing-key.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/** A service and the public keys it signs its assertions with; several while one replaces another. */
export interface KeyedService extends Omit<Service, 'id'> {
  readonly jwks: { readonly keys: readonly SigningJwk[] }
}

/** Options of {@link createAssertionCheck}. */
export interface AssertionOptions {
  /**
   * What an assertion may be for beside the issuer: the URL of the token endpoint, for clients that
   * still name that. @defaultValue nothing
   */
  readonly audience?: string | readonly string[] | undefined
}

const MAX_LIFE_S = 300
/** How far the service's clock may be off. */
const SKEW_S = 30
/** One node's clock may be fast and another's slow, each by the most that `clockSkew` can be. */
const NODES_APART_S = 120
/** Header members a client may write; nothing that brings a key or changes how it is verified. */
const HEADER: ReadonlySet<string> = new Set(['alg', 'typ', 'kid'])
const TYPES: ReadonlySet<unknown> = new Set([undefined, 'JWT', 'client-authentication+jwt'])
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Makes what knows a service by a signed assertion (RFC 7523 §3): `iss` and `sub` its name, `aud` this
 * issuer and nobody else, a life of five minutes at most, and used once. The key names the algorithm.
 *
 * @returns the service; null for whatever is wrong
 * @throws {ConfigError} `invalid_option`
 */
export function createAssertionCheck(
  services: Readonly<Record<string, KeyedService>>,
  options: AssertionOptions = {},
): (assertion: string, kit: ServiceKit) => Promise<Service | null> {
  const given: unknown = services
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ConfigError('privateKeyJwt', 'takes an object of services by name')
  }
  rejectUnknownOptions('privateKeyJwt', options, ['audience'])
  const more: unknown = options.audience ?? []
  const others: readonly unknown[] = Array.isArray(more) ? more : [more]
  if (!others.every(isIdentifier)) throw new ConfigError('privateKeyJwt.audience', 'must be texts')
  const alsoUs: ReadonlySet<unknown> = new Set(others)
  const known = new Map(Object.entries(services).map(([id, entry]) => parseEntry(id, entry)))
  const decoys = new Map(
    [...known.values()].flatMap(({ keys }) => keys).map((key) => [key.alg, key]),
  )

  return async (assertion, kit) => {
    const read = await verified(assertion, known, decoys)
    if (read === null) return null
    const { service, claims } = read
    const { iss, sub, aud, exp, iat, nbf, jti } = claims
    const now = kit.now() / 1000
    const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
    const isGood =
      iss === service.id &&
      sub === service.id &&
      // For us and for nobody else: another server could otherwise hand it on to us.
      audiences.length > 0 &&
      audiences.every((one) => one === kit.issuer || alsoUs.has(one)) &&
      isInstant(exp) &&
      exp > now - SKEW_S &&
      (iat === undefined || (isInstant(iat) && iat <= now + SKEW_S)) &&
      (nbf === undefined || (isInstant(nbf) && nbf <= now + SKEW_S)) &&
      exp <= now + MAX_LIFE_S + SKEW_S
    if (!isGood || !isIdentifier(jti)) return null
    // Last, so that nobody but the service uses up its assertions.
    const isFirst = await kit.once(
      JSON.stringify(['client_assertion', service.id, jti]),
      (exp - now + SKEW_S + NODES_APART_S) * 1000,
    )
    return isFirst ? service : null
  }
}

interface Known {
  readonly service: Service
  readonly keys: readonly VerificationKey[]
}

/**
 * What an assertion says, once its signature is that of the service it names.
 *
 * @param decoys - a key of each algorithm. A name that nobody has is verified by one of them and refused
 *   whatever comes of it: that takes as long as a bad signature of a service that exists
 */
async function verified(
  assertion: string,
  known: ReadonlyMap<string, Known>,
  decoys: ReadonlyMap<unknown, VerificationKey>,
): Promise<{
  readonly service: Service
  readonly claims: Readonly<Record<string, unknown>>
} | null> {
  try {
    const header = readHeader(assertion)
    const members = Object.keys(header)
    if (!members.every((name) => HEADER.has(name)) || !TYPES.has(header['typ'])) return null
    // Whom it names is only believed once that one's key has verified it.
    const [, payload = ''] = assertion.split('.')
    const named = parseJsonObject(Buffer.from(payload, 'base64url').toString('utf8'))?.['iss']
    const found = typeof named === 'string' ? known.get(named) : undefined
    const { kid } = header
    const keys = found?.keys ?? []
    const meant =
      kid === undefined && keys.length === 1 ? keys[0] : keys.find((one) => one.kid === kid)
    const own = meant?.alg === header['alg'] ? meant : undefined
    const key = own ?? decoys.get(header['alg'])
    if (key === undefined) return null
    const { payload: bytes } = await compactVerify(assertion, key.key, { algorithms: [key.alg] })
    if (found === undefined || own === undefined) return null
    const claims = parseJsonObject(UTF8.decode(bytes))
    return claims === undefined ? null : { service: found.service, claims }
  } catch {
    return null // whatever it is, it proves nothing
  }
}

function isInstant(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function parseEntry(id: string, entry: KeyedService): readonly [string, Known] {
  const path = `privateKeyJwt[${JSON.stringify(id)}]`
  const given: unknown = entry
  if (typeof given !== 'object' || given === null) {
    throw new ConfigError(path, 'must be an object of jwks, scope, audiences')
  }
  rejectUnknownOptions(path, entry, ['jwks', 'scope', 'audiences'])
  const { jwks, scope, audiences } = entry
  const service = { id, scope, audiences }
  if (!isService(service)) {
    throw new ConfigError(path, 'must have a name, a list as scope and a list as audiences')
  }
  const set: unknown = jwks
  const list: unknown =
    typeof set === 'object' && set !== null && 'keys' in set ? set.keys : undefined
  if (!Array.isArray(list) || list.length === 0) {
    throw new ConfigError(`${path}.jwks`, 'must be { keys: [publicJwk] }')
  }
  const keys = jwks.keys.map((jwk, index) => parseKey(jwk, `${path}.jwks.keys[${index}]`))
  if (new Set(keys.map(({ kid }) => kid)).size < keys.length) {
    throw new ConfigError(`${path}.jwks`, 'has two keys of one kid')
  }
  return [id, { service, keys }]
}

function parseKey(jwk: SigningJwk, path: string): VerificationKey {
  const { kid, alg, publicKey, privateKey } = parseSigningKey(jwk, path)
  if (privateKey !== undefined) {
    throw new ConfigError(path, 'is private: it is for the service alone; give its public half')
  }
  if (!ASSERTION_ALGORITHMS.includes(alg)) throw new ConfigError(path, 'has another algorithm')
  return { kid, alg, key: publicKey }
}
