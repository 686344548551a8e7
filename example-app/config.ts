import type { Duration, ServiceEntry, ServiceSecrets, SigningKeyInput } from 'latchkey'

/** What the environment says. */
export interface Config {
  /** Where to listen, 0 for any free port. */
  readonly port: number
  /** The app's name in tokens. Undefined: see {@link issuerOf}. */
  readonly issuer?: string
  /** Where sessions are kept, one of these at most. None: in this process. */
  readonly redisUrl?: string
  readonly databaseUrl?: string
  /** Secrets for the tokens, the newest first. Undefined: one is drawn, for all who share a store. */
  readonly secrets?: string[]
  /** A private JWK that signs access tokens. Undefined: the kit makes one for all who share a store. */
  readonly signingKey?: SigningKeyInput
  /** Backends that may ask about tokens, by name: the hash of each one's secret. */
  readonly services?: ServiceSecrets
  /** For whom else tokens are made. */
  readonly audiences?: string[]
  /** How old a login may be to transfer money. Tests make it short. */
  readonly transferMaxAuthAge: Duration
  /** How long the store may take. Undefined: as long as it may by default. Tests make it long. */
  readonly storeDeadline?: Duration
}

/**
 * Reads the environment.
 *
 * @throws {Error} when a variable is wrong; the message names it and never shows its value
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const port = env['PORT'] ?? '3000'
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new Error('PORT must be a number from 0 to 65535')
  }

  const secrets = env['LATCHKEY_SECRETS']?.split(',').map((secret) => secret.trim())
  const signingKey = env['LATCHKEY_SIGNING_KEY']
  const storeDeadline = env['STORE_DEADLINE']
  return {
    port: Number(port),
    ...(env['ISSUER'] !== undefined && { issuer: env['ISSUER'] }),
    ...readStore(env),
    // An empty variable is an unset one; the kit judges what is in a set one.
    ...(secrets?.some((secret) => secret !== '') === true && { secrets }),
    ...(signingKey !== undefined && signingKey !== '' && { signingKey: parseJwk(signingKey) }),
    ...readServices(env),
    transferMaxAuthAge: parseTime('TRANSFER_MAX_AUTH_AGE', env['TRANSFER_MAX_AUTH_AGE'] ?? '5m'),
    ...(storeDeadline !== undefined && {
      storeDeadline: parseTime('STORE_DEADLINE', storeDeadline),
    }),
  }
}

/**
 * The app's name in tokens: where it listens. Processes that share a store share a name too, whatever
 * their ports.
 */
export function issuerOf({ issuer, redisUrl, databaseUrl }: Config, port: number): string {
  const isShared = redisUrl !== undefined || databaseUrl !== undefined
  return issuer ?? `http://localhost:${isShared ? 3000 : port}`
}

function readStore(env: NodeJS.ProcessEnv): Pick<Config, 'redisUrl' | 'databaseUrl'> {
  switch (env['STORE'] ?? 'memory') {
    case 'memory':
      return {}
    case 'redis': {
      const redisUrl = env['REDIS_URL'] ?? 'redis://localhost:6379'
      if (/^rediss?:\/\//.test(redisUrl)) return { redisUrl }
      throw new Error('REDIS_URL must begin with redis:// or rediss://')
    }
    case 'postgres': {
      const databaseUrl = env['DATABASE_URL'] ?? 'postgres://localhost:5432/postgres'
      if (/^postgres(?:ql)?:\/\//.test(databaseUrl)) return { databaseUrl }
      throw new Error('DATABASE_URL must begin with postgres:// or postgresql://')
    }
    default:
      throw new Error('STORE must be memory, redis or postgres')
  }
}

/** `LATCHKEY_SERVICES=orders:HASH,billing:HASH`, as `npx latchkey service-secret` makes them. */
function readServices(env: NodeJS.ProcessEnv): Pick<Config, 'services' | 'audiences'> {
  const audiences = listOf(env['LATCHKEY_AUDIENCES'])
  const pairs = listOf(env['LATCHKEY_SERVICES']).map((pair) => pair.split(':'))
  if (pairs.some(({ length }) => length !== 2)) {
    throw new Error('LATCHKEY_SERVICES must be a list of name:hash')
  }
  // Each may have what the demo's users have.
  const services = pairs.map(([name = '', hash = '']): [string, ServiceEntry] => [
    name,
    { hash, scope: ['profile:read', 'transfers:write'] },
  ])
  return {
    ...(services.length > 0 && { services: Object.fromEntries(services) }),
    ...(audiences.length > 0 && { audiences }),
  }
}

function listOf(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
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

function parseTime(variable: string, text: string): Duration {
  if (!isDuration(text)) {
    throw new Error(`${variable} must be a duration with its unit, such as '5m'`)
  }
  return text
}

function isDuration(text: string): text is Duration {
  return /^\d{1,6}(?:ms|s|m|h|d)$/.test(text)
}
