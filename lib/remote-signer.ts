import type { KeyObject } from 'node:crypto'
import { verify } from 'node:crypto'
import type { Algorithm } from './access-token-format.ts'
import { AuthError } from './errors.ts'
import { signatureBytes, signatureForm } from './local-signer.ts'
import type { SigningKey } from './sign-jwt.ts'

/** A key that signs elsewhere. */
export interface RemoteSigner extends SigningKey {
  /**
   * Resolves when the key is known to sign: at once while it does, else after a trial.
   *
   * @throws {AuthError} `signing_unavailable`
   */
  ready(): Promise<void>
}

const DEADLINE_MS = 2000
/** More signatures at a time than this, and the service is not there any more. */
const MAX_IN_FLIGHT = 256
const PROBE = Buffer.from('latchkey')

/**
 * A key behind a callback, as of a KMS. Each signature is verified before it leaves, so that a key that
 * was exchanged there never becomes a token that nobody accepts. What fails or is late is one
 * `signing_unavailable`, and before the next token a trial decides: while the service is away nothing
 * changes that a token was to follow.
 *
 * @param onFailure - hears why; never part of the data
 */
export function createRemoteSigner(options: {
  readonly kid: string
  readonly alg: Algorithm
  readonly publicKey: KeyObject
  readonly sign: (data: Uint8Array) => Promise<Uint8Array> | Uint8Array
  readonly onFailure: (error: unknown) => void
}): RemoteSigner {
  const { kid, alg, publicKey, onFailure } = options
  const { digest, ...form } = signatureForm(alg)
  const bytes = signatureBytes(publicKey)
  let isTried = false
  let trial: Promise<unknown> | null = null
  let inFlight = 0

  async function ask(data: Uint8Array): Promise<Uint8Array> {
    if (inFlight >= MAX_IN_FLIGHT) throw new Error(`${MAX_IN_FLIGHT} signatures are under way`)
    inFlight++
    try {
      // A copy: what the callback does to it must not reach the token.
      const answer = withinDeadline(async () => options.sign(Uint8Array.from(data)))
      const signature = toJws(alg, await answer, bytes)
      if (!verify(digest, data, { key: publicKey, ...form }, signature)) {
        throw new Error('the public key does not verify the signature')
      }
      return signature
    } finally {
      inFlight--
    }
  }

  async function sign(data: Uint8Array): Promise<Uint8Array> {
    try {
      const signature = await ask(data)
      isTried = true
      return signature
    } catch (error) {
      isTried = false
      onFailure(error)
      throw new AuthError('signing_unavailable', 'the token could not be signed; try again', {
        cause: error,
      })
    }
  }

  return Object.freeze({
    kid,
    alg,
    signatureBytes: bytes,
    sign,
    async ready() {
      if (isTried) return
      // One for all who wait: the service comes back to one question, not to a thousand.
      trial ??= sign(PROBE).finally(() => {
        trial = null
      })
      await trial
    },
  })
}

/**
 * The signature as JWS has it. Most services give an ECDSA signature as DER (RFC 3279 §2.2.3), JWS
 * wants r and s in 32 bytes each (RFC 7518 §3.4). One of 64 bytes is taken as it is.
 */
function toJws(alg: Algorithm, signature: unknown, bytes: number): Uint8Array {
  if (!(signature instanceof Uint8Array)) throw new Error('the signature is no Uint8Array')
  if (alg !== 'ES256' || signature.length === bytes) return signature
  return fromDer(signature, bytes / 2)
}

/** SEQUENCE of two INTEGERs, each below 128 bytes. What is no such thing does not verify later on. */
function fromDer(der: Uint8Array, half: number): Uint8Array {
  const rLength = der[3] ?? 0
  const r = der.subarray(4, 4 + rLength)
  const s = der.subarray(6 + rLength)
  const isWhole =
    der[0] === 0x30 &&
    der[1] === der.length - 2 &&
    der[2] === 0x02 &&
    der[4 + rLength] === 0x02 &&
    der[5 + rLength] === s.length
  if (!isWhole) throw new Error('the signature is neither r and s nor DER')
  return Buffer.concat([r, s].map((part) => toHalf(part, half)))
}

/** An INTEGER without its sign, in as many bytes as it has to have. */
function toHalf(integer: Uint8Array, half: number): Buffer {
  const digits = integer.subarray(integer.findIndex((byte) => byte !== 0))
  if (digits.length > half) throw new Error('the signature is of another curve')
  return Buffer.concat([Buffer.alloc(half - digits.length), digits])
}

async function withinDeadline(work: () => Promise<Uint8Array>): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const fail = () => reject(new Error(`late: ${DEADLINE_MS} ms`))
    const timer = setTimeout(fail, DEADLINE_MS)
    work()
      .then(resolve, reject)
      .finally(() => clearTimeout(timer))
  })
}
