import type { Core } from './core.ts'
import { ConfigError } from './errors.ts'
import type { PublicJwk, SigningKeyStatus } from './signing-keys.ts'

/** The signing keys of a kit. */
export interface KeyControl {
  /**
   * The public keys as of now (RFC 7517), for services that verify access tokens by themselves.
   *
   * @throws {StoreUnavailable} with managed keys, before they were loaded
   */
  readonly jwks: { readonly keys: readonly PublicJwk[] }
  /**
   * What can be said of each key; no private part.
   *
   * @throws {StoreUnavailable} with managed keys, before they were loaded
   */
  list(): readonly SigningKeyStatus[]
  /**
   * Makes a new key, or takes the next one, and lets it sign as soon as every verifier has it. Asked
   * again before that, it answers the same key.
   *
   * @throws {ConfigError} `invalid_option` when the app gave the keys: rotate by `signingKeys`
   * @throws {StoreUnavailable} call again
   */
  rotate(): Promise<SigningKeyStatus>
  /**
   * For an emergency: takes a key away at once. Every node hears of it within milliseconds and refuses
   * its tokens; another key signs. Services that verify by themselves follow when they hear of it, or
   * when their copy of the JWKS runs out.
   *
   * @returns false when there is no such key, and was none that was retired
   * @throws {ConfigError} `invalid_option` when the app gave the keys: take it out of `signingKeys`
   * @throws {StoreUnavailable} it may be gone or not: call again
   */
  retire(kid: string): Promise<boolean>
}

/** Makes what `latchkey.keys` is. */
export function createKeyControl(core: Core): KeyControl {
  const { signingKeys, managedKeys } = core

  function managed(): NonNullable<typeof managedKeys> {
    if (managedKeys !== null) return managedKeys
    throw new ConfigError(
      'signingKeys',
      'are given by the app, so they rotate where they come from; managedKeys() rotates by itself',
    )
  }

  return {
    get jwks() {
      return signingKeys.jwks
    },
    list: () => (managedKeys === null ? givenKeys(signingKeys) : managedKeys.list()),
    rotate: async () => managed().rotate(),
    retire: async (kid) => managed().retire(kid),
  }
}

function givenKeys({ jwks, active }: Core['signingKeys']): readonly SigningKeyStatus[] {
  return jwks.keys.map(({ kid, alg }) => ({
    kid,
    alg,
    state: kid === active.kid ? 'active' : 'verifying',
    publishedAt: null,
    activeAt: null,
  }))
}
