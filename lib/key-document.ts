import { parseJsonObject } from './access-token-format.ts'
import { ConfigError } from './errors.ts'
import type { KeyRing } from './key-ring.ts'
import type { KeySet, ManagedKey, RetiredKey } from './key-set.ts'
import type { KeysDocument } from './store.ts'

/** The first word of a document, and the version of its form. */
const FORM = 'lkk1'

/** A document that was opened. */
export interface OpenedKeys {
  readonly set: KeySet
  /** Whether the secret that signs now has sealed it. */
  readonly isCurrent: boolean
}

/**
 * Seals the keys for the store, under the secret at position 0. All of it is sealed, the public halves
 * too: who can write to the store cannot bring a key of their own. The seal is bound to the version
 * that the document gets: an older one, with a key that was retired since, does not open as a newer.
 */
export function sealKeys(ring: KeyRing, set: KeySet, version: number): string {
  const { activeKid } = ring
  return `${FORM}.${activeKid}.${ring.sealKeys(JSON.stringify(set), boundTo(activeKid, version))}`
}

/**
 * Opens a document.
 *
 * @throws {ConfigError} `invalid_option` when none of the secrets opens it: it is of another
 *   installation, of a secret that is gone, or was tampered with
 */
export function openKeys(ring: KeyRing, { document, version }: KeysDocument): OpenedKeys {
  const [form, kid = '', sealed = '', ...more] = document.split('.', 4)
  if (form !== FORM || more.length > 0) {
    throw unreadable('is none of managed keys: something else was kept in its place')
  }
  const text = ring.openKeys(kid, sealed, boundTo(kid, version))
  if (text === null) {
    throw unreadable(
      'does not open with any of secrets; give back the secret it was sealed with, at any position. ' +
        'If that is lost, empty the document by hand: new keys are made and access tokens are void',
    )
  }
  const set = readSet(text)
  if (set === undefined) throw unreadable('has a form that this version does not know')
  return { set, isCurrent: kid === ring.activeKid }
}

function boundTo(kid: string, version: number): string {
  return `${FORM}.${kid}.${version}`
}

function unreadable(problem: string): ConfigError {
  return new ConfigError('signingKeys', `cannot be read: the keys document in the store ${problem}`)
}

/** What was sealed is what this code wrote; a later version may have written more. */
function readSet(text: string): KeySet | undefined {
  const { keys, retired, tokenMs } = parseJsonObject(text) ?? {}
  if (!Array.isArray(keys) || !keys.every(isManagedKey)) return undefined
  if (!Array.isArray(retired) || !retired.every(isRetiredKey)) return undefined
  return typeof tokenMs === 'number' ? { keys, retired, tokenMs } : undefined
}

function isManagedKey(value: unknown): value is ManagedKey {
  const { jwk, publishedAt, activeAt } = membersOf(value)
  const { kty, alg, kid } = membersOf(jwk)
  const isNamed = [kty, alg, kid].every((member) => typeof member === 'string')
  return isNamed && typeof publishedAt === 'number' && typeof activeAt === 'number'
}

function isRetiredKey(value: unknown): value is RetiredKey {
  const { kid, at } = membersOf(value)
  return typeof kid === 'string' && typeof at === 'number'
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}
