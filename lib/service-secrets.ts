import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { ConfigError } from './errors.ts'
import type { Service } from './service.ts'
import { isService } from './service.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/** A service and what its secrets' hashes are; several while one is replaced by another. */
export interface ServiceEntry extends Omit<Service, 'id'> {
  /** As {@link generateServiceSecret} gives it. */
  readonly hash: string | readonly string[]
}

/** Services by their names: an entry, or just its hash or hashes. */
export type ServiceSecrets = Readonly<Record<string, string | readonly string[] | ServiceEntry>>

// 256 random bits in their one spelling: nothing shorter, and nothing that somebody thought of.
const SECRET = /^lkc_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/
const HASH = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/

/**
 * Draws a secret for a service, `lkc_` and 256 random bits, and the hash of it for the app. The hash
 * need not be slow, for nobody can guess such a secret.
 */
export function generateServiceSecret(): { readonly secret: string; readonly hash: string } {
  const secret = `lkc_${randomBytes(32).toString('base64url')}`
  return { secret, hash: hash('sha256', secret, 'base64url') }
}

/**
 * Makes what knows a service by its secret. It takes as long for a name that nobody has, and only
 * secrets of the form that {@link generateServiceSecret} draws are good: the hash of a password is a
 * hash that never matches.
 *
 * @throws {ConfigError} `invalid_option`
 */
export function createSecretCheck(
  services: ServiceSecrets,
): (id: string, secret: string) => Service | null {
  const given: unknown = services
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ConfigError('serviceSecrets', 'takes an object of hashes by name')
  }
  const known = new Map(Object.entries(services).map(([id, entry]) => parseEntry(id, entry)))
  const nobody = { service: null, hashes: [randomBytes(32)] }

  return (id, secret) => {
    const { service, hashes } = known.get(id) ?? nobody
    const presented = hash('sha256', secret, 'buffer')
    let matches = false
    for (const one of hashes) matches = timingSafeEqual(one, presented) || matches
    return matches && SECRET.test(secret) ? service : null
  }
}

function parseEntry(
  id: string,
  entry: string | readonly string[] | ServiceEntry,
): readonly [string, { readonly service: Service; readonly hashes: readonly Buffer[] }] {
  const path = `serviceSecrets[${JSON.stringify(id)}]`
  // What is not there, as a variable of the environment, is a hash that is missing.
  const isHashes = typeof entry !== 'object' || isList(entry)
  const whole: Omit<ServiceEntry, 'hash'> & { hash?: unknown } = isHashes ? { hash: entry } : entry
  rejectUnknownOptions(path, whole, ['hash', 'scope', 'audiences'])
  const { hash: given, scope, audiences } = whole
  const service = { id, scope, audiences }
  if (!isService(service)) {
    throw new ConfigError(
      path,
      'must have a name of 1 to 255 characters, a list as scope and as audiences',
    )
  }
  const hashes: readonly unknown[] = isList(given) ? given : [given]
  if (hashes.length === 0 || !hashes.every(isHash)) {
    throw new ConfigError(
      path,
      'must have a hash as generateServiceSecret() gives it, never the secret; ' +
        'npx latchkey service-secret makes both',
    )
  }
  return [id, { service, hashes: hashes.map((one) => Buffer.from(one, 'base64url')) }]
}

function isList(value: unknown): value is readonly string[] {
  return Array.isArray(value)
}

function isHash(value: unknown): value is string {
  return typeof value === 'string' && HASH.test(value)
}
