import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  generateKeyPairSync,
} from 'node:crypto'
import { promisify } from 'node:util'
import type { Algorithm, VerificationKey } from './access-token-format.ts'
import { ConfigError } from './errors.ts'
import { localSigner } from './local-signer.ts'
import type { RemoteSigner } from './remote-signer.ts'
import { createRemoteSigner } from './remote-signer.ts'
import type { SigningKey } from './sign-jwt.ts'
import type { ParsedKey, PublicMembers, SigningJwk, SigningKeyInput } from './signing-key.ts'
import { parseSigningKey, publicMembers, thumbprintOf } from './signing-key.ts'

export type { Algorithm, VerificationKey } from './access-token-format.ts'
export type { SigningKey } from './sign-jwt.ts'
export type { SigningCallback, SigningJwk, SigningKeyInput, SigningPem } from './signing-key.ts'

/** A public key as `jwks.json` shows it. It has public members only. */
export interface PublicJwk extends PublicMembers {
  readonly kid: string
  readonly alg: Algorithm
  readonly use: 'sig'
}

/** What can be said of a key. */
export interface SigningKeyStatus {
  readonly kid: string
  readonly alg: Algorithm
  /**
   * `next`: published, and signs from `activeAt`; `active`: signs; `retiring`: verifies what it signed
   * until that is over. A key that the app gave is `active` at position 0, else `verifying`.
   */
  readonly state: 'next' | 'active' | 'retiring' | 'verifying'
  /** Since when it can be known, epoch milliseconds; null for a key that the app gave. */
  readonly publishedAt: number | null
  /**
   * From when it signs, epoch milliseconds; null for a key that the app gave. The successor of a key
   * that was retired takes over that one's instant, which may be before it was made.
   */
  readonly activeAt: number | null
}

/**
 * The keys of one issuer: one signs, all verify. They may change at any time: ask for each token.
 */
export interface SigningKeys {
  /** The key that signs. @throws {StoreUnavailable} before the keys were loaded; await `ready()` */
  readonly active: SigningKey
  find(kid: string): VerificationKey | undefined
  /** The public keys (RFC 7517 §5). @throws {StoreUnavailable} before the keys were loaded */
  readonly jwks: { readonly keys: readonly PublicJwk[] }
  /**
   * Resolves once there is a key that signs; to be awaited before anything changes that a token is to
   * follow.
   *
   * @throws {StoreUnavailable} when the keys cannot be loaded now
   * @throws {AuthError} `signing_unavailable`
   */
  ready(): Promise<void>
  /**
   * Looks for a key that `find` does not know: another node may have made it. After it `find` decides.
   *
   * @throws {StoreUnavailable} when that cannot be known now
   */
  seek(kid: string): Promise<void>
}

/**
 * Reads the signing keys. Position 0 signs, all verify.
 *
 * @param onSignFailure - hears why a callback did not sign
 * @throws {ConfigError} `invalid_option` when there is none, when one is weak, inconsistent, not for
 *   its algorithm or not for signing, when position 0 is not private, or when two are alike
 *
 * @remarks OWASP ASVS 5.0 9.1.2 and 11.2.3, RFC 8725 §3.1 and §3.5.
 */
export function parseSigningKeys(
  inputs: readonly SigningKeyInput[],
  onSignFailure: (error: unknown) => void = () => undefined,
): SigningKeys {
  const byKid = new Map<string, VerificationKey>()
  const thumbprints = new Set<string>()
  const jwks: PublicJwk[] = []
  let active: SigningKey | RemoteSigner | undefined

  for (const [position, input] of inputs.entries()) {
    const option = `signingKeys[${position}]`
    const parsed = parseSigningKey(input, option)
    const { kid, alg, publicKey, thumbprint, members } = parsed
    if (byKid.has(kid)) throw new ConfigError(option, 'has the kid of a key before it')
    // A key has one algorithm (RFC 8725 §3.1), so it has one entry.
    if (thumbprints.has(thumbprint)) throw new ConfigError(option, 'is a key listed before it')
    if (position === 0) {
      active = signerOf(parsed, onSignFailure)
      if (active === undefined) throw new ConfigError(option, 'signs, so it must be private')
    }
    byKid.set(kid, Object.freeze({ kid, alg, key: publicKey }))
    thumbprints.add(thumbprint)
    jwks.push(Object.freeze({ ...members, kid, alg, use: 'sig' }))
  }
  if (active === undefined) throw new ConfigError('signingKeys', 'must hold at least one key')
  const signer = active
  return {
    active,
    find: (kid) => byKid.get(kid),
    jwks: { keys: Object.freeze(jwks) },
    ready: async () => ('ready' in signer ? signer.ready() : undefined),
    seek: async () => undefined,
  }
}

function signerOf(
  { kid, alg, privateKey, publicKey, callback }: ParsedKey,
  onFailure: (error: unknown) => void,
): SigningKey | RemoteSigner | undefined {
  if (privateKey !== undefined) return localSigner(kid, alg, privateKey)
  if (callback === undefined) return undefined
  return createRemoteSigner({ kid, alg, publicKey, sign: callback, onFailure })
}

/**
 * Draws a new signing key.
 *
 * @param alg - its algorithm, ES256 by default; RSA keys have 3072 bits
 * @returns a private JWK with `kid` and `alg`; keep it secret
 */
export function generateSigningKey(alg: Algorithm = 'ES256'): NamedJwk {
  if (alg === 'ES256') return toJwk(alg, generateKeyPairSync('ec', EC))
  if (alg === 'EdDSA') return toJwk(alg, ed25519Of(generateKeyPairSync('ed25519', DER)))
  return toJwk(alg, generateKeyPairSync('rsa', RSA))
}

/** The same on another thread: an RSA key takes longer than a request may wait. */
export async function drawSigningKey(alg: Algorithm): Promise<NamedJwk> {
  if (alg === 'ES256') return toJwk(alg, await generatePair('ec', EC))
  if (alg === 'EdDSA') return toJwk(alg, ed25519Of(await generatePair('ed25519', DER)))
  return toJwk(alg, await generatePair('rsa', RSA))
}

/** A private JWK with its name. */
export type NamedJwk = SigningJwk & { readonly kid: string }

/**
 * A new key leaves its generator as bytes. The generator's own KeyObject is locked while it is exported, and
 * the generator wants that lock when it is freed: where the garbage collector does so in between, on the same
 * thread, the process stands still for ever, once in some thousand keys (Node 20, `generateKeyPairSync`).
 */
const DER = {
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'pkcs8', format: 'der' },
} as const
const EC = { namedCurve: 'P-256', ...DER }
const RSA = { modulusLength: 3072, ...DER }
const generatePair = promisify(generateKeyPair)

interface Drawn {
  readonly privateKey: Buffer
}

function ed25519Of(drawn: unknown): Drawn {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Node's types see no encodings here
  return drawn as Drawn
}

function toJwk(alg: Algorithm, drawn: Drawn): NamedJwk {
  const privateKey = createPrivateKey({ key: drawn.privateKey, format: 'der', type: 'pkcs8' })
  const { kty = '', ...members } = privateKey.export({ format: 'jwk' })
  const kid = thumbprintOf(publicMembers(createPublicKey(privateKey)))
  return { kty, ...members, alg, kid, use: 'sig' }
}
