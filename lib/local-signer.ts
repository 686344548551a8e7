import type { KeyObject, SignKeyObjectInput } from 'node:crypto'
import { constants, sign } from 'node:crypto'
import type { Algorithm } from './access-token-format.ts'
import type { SigningKey } from './sign-jwt.ts'

/** A digest, and the form of what is made of it, for node:crypto. */
export type SignatureForm = { readonly digest: string | null } & Omit<SignKeyObjectInput, 'key'>

const FORMS: Readonly<Record<Algorithm, SignatureForm>> = {
  ES256: { digest: 'sha256', dsaEncoding: 'ieee-p1363' },
  EdDSA: { digest: null },
  PS256: {
    digest: 'sha256',
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  },
  RS256: { digest: 'sha256', padding: constants.RSA_PKCS1_PADDING },
}

/** A key that signs in this process, on another thread. */
export function localSigner(kid: string, alg: Algorithm, key: KeyObject): SigningKey {
  const { digest, ...form } = signatureForm(alg)
  return Object.freeze({
    kid,
    alg,
    signatureBytes: signatureBytes(key),
    sign: async (input: Uint8Array) =>
      new Promise<Uint8Array>((resolve, reject) => {
        sign(digest, input, { key, ...form }, (error, signature) => {
          if (error === null) resolve(signature)
          else reject(error)
        })
      }),
  })
}

/** How an algorithm signs (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1). */
export function signatureForm(alg: Algorithm): SignatureForm {
  return FORMS[alg]
}

/** ES256 and EdDSA signatures have 64 bytes, those of RSA as many as the modulus. */
export function signatureBytes(key: KeyObject): number {
  return (key.asymmetricKeyDetails?.modulusLength ?? 512) / 8
}
