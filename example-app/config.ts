import type { Duration, SigningKeyInput } from 'latchkey'

/** What the environment says. */
export interface Config {
  /** Where to listen, 0 for any free port. */
  readonly port: number
  /** The app's name in tokens. Processes that share a store share it too, whatever their ports. */
  readonly issuer: string
  /** Where sessions are kept. Undefined: in this process. */
  readonly redisUrl?: string
  /** Secrets for the tokens, the newest first. Undefined: the kit draws one for this process. */
  readonly secrets?: string[]
  /** A private JWK that signs access tokens. Undefined: the kit makes one for this process. */
  readonly signingKey?: SigningKeyInput
  /** How old a login may be to transfer money. Tests make it short. */
  readonly transferMaxAuthAge: Duration
}

/**
 * Reads the environment.
 *
 * @throws {Error} when a variable is wrong; the message names it and never shows its value
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const store = env['STORE'] ?? 'memory'
  if (store !== 'memory' && store !== 'redis') throw new Error('STORE must be memory or redis')
  const redisUrl = env['REDIS_URL'] ?? 'redis://localhost:6379'
  if (store === 'redis' && !/^rediss?:\/\//.test(redisUrl)) {
    throw new Error('REDIS_URL must begin with redis:// or rediss://')
  }

  const port = env['PORT'] ?? '3000'
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new Error('PORT must be a number from 0 to 65535')
  }

  const secrets = env['LATCHKEY_SECRETS']?.split(',').map((secret) => secret.trim())
  const signingKey = env['LATCHKEY_SIGNING_KEY']
  return {
    port: Number(port),
    issuer: env['ISSUER'] ?? 'http://localhost:3000',
    ...(store === 'redis' && { redisUrl }),
    // An empty variable is an unset one; the kit judges what is in a set one.
    ...(secrets?.some((secret) => secret !== '') === true && { secrets }),
    ...(signingKey !== undefined && signingKey !== '' && { signingKey: parseJwk(signingKey) }),
    transferMaxAuthAge: parseAge(env['TRANSFER_MAX_AUTH_AGE'] ?? '5m'),
  }
}

function parseJwk(text: string): SigningKeyInput {
  let jwk: unknown
  try {
    jwk = JSON.parse(text)
  } catch {
    // The parser's message would quote the key.
  }
  if (!isPrivateJwk(jwk)) throw new Error('LATCHKEY_SIGNING_KEY must be a private JWK, as JSON')
  return jwk
}

/** Whether it is meant to be one. Whether it is a good one is the kit's to say. */
function isPrivateJwk(value: unknown): value is SigningKeyInput {
  return typeof value === 'object' && value !== null && 'kty' in value && 'd' in value
}

function parseAge(text: string): Duration {
  if (!isDuration(text)) {
    throw new Error("TRANSFER_MAX_AUTH_AGE must be a duration with its unit, such as '5m'")
  }
  return text
}

function isDuration(text: string): text is Duration {
  return /^\d{1,6}(?:ms|s|m|h|d)$/.test(text)
}
