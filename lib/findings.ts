import { ConfigError } from './errors.ts'
import type { StoreFinding } from './store.ts'

/** How bad a finding is. `error` is what `strict` does not start with. */
export type Severity = 'warning' | 'error'

/** Something about an app or its surroundings that works now and will bite. Holds no secret. */
export interface Finding {
  /** A stable word for it; `docs/doctor.md` has cause and remedy of each. */
  readonly code: string
  /** What is wrong and how to mend it, one sentence. */
  readonly message: string
  readonly severity: Severity
}

/** The codes of the kit's own findings; a store adds its own. */
export type FindingCode =
  | 'development_secrets'
  | 'development_signingKeys'
  | 'development_store'
  | 'weak_secret'
  | 'secret_reused'
  | 'node_env'
  | 'plain_http'
  | 'proxy_address'
  | 'metadata_path'
  | 'cookie_not_returned'
  | 'cookie_shadowed'
  | 'clock_offset'
  | 'store_unavailable'
  | 'signing_keys_unreadable'
  | 'large_access_token'
  | 'reserved_claim'

const SEVERITIES: Readonly<Record<FindingCode, Severity>> = {
  development_secrets: 'warning',
  development_signingKeys: 'warning',
  development_store: 'warning',
  weak_secret: 'error',
  secret_reused: 'error',
  node_env: 'warning',
  plain_http: 'warning',
  proxy_address: 'warning',
  metadata_path: 'warning',
  cookie_not_returned: 'warning',
  cookie_shadowed: 'warning',
  clock_offset: 'warning',
  store_unavailable: 'error',
  signing_keys_unreadable: 'error',
  large_access_token: 'warning',
  reserved_claim: 'warning',
}

/** All codes of the kit's own findings. */
export const FINDING_CODES: readonly string[] = Object.keys(SEVERITIES)

/** A finding of the kit. */
export function finding(code: FindingCode, message: string): Finding {
  return { code, message, severity: SEVERITIES[code] }
}

/** A finding of a store: what a server may do to sessions and revocations is never a trifle. */
export function storeFinding({ code, message }: StoreFinding): Finding {
  return { code, message, severity: 'error' }
}

/**
 * Refuses to go on with what was found, for `strict`.
 *
 * @throws {ConfigError} `invalid_option` that lists the findings of severity `error`
 */
export function refuseErrors(findings: readonly Finding[]): void {
  const errors = findings.filter(({ severity }) => severity === 'error')
  if (errors.length === 0) return
  const list = errors.map(({ code, message }) => `${code}: ${message}`).join('; ')
  throw new ConfigError('strict', `does not start with what was found: ${list}`)
}

const LOCAL = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\]|.*\.(?:localhost|test|local))$/

/** Values that somebody chose on purpose. Any other, `prod` too, is an oversight. */
const CHOSEN = new Set(['production', 'development', 'test'])

/**
 * Finds a public app that does not run as production: nothing that production refuses is refused.
 *
 * @param environment - `NODE_ENV`
 */
export function findEnvironment(issuer: string, environment: string | undefined): Finding[] {
  const { protocol, hostname } = new URL(issuer)
  const isPublic = protocol === 'https:' && !LOCAL.test(hostname)
  if (!isPublic || CHOSEN.has(environment ?? '')) return []
  const is = environment === undefined || environment === '' ? 'not set' : "none of Node's words"
  return [
    finding(
      'node_env',
      `NODE_ENV is ${is} although the issuer is public: what production refuses, such as secrets ` +
        "drawn at start, is let through; set NODE_ENV to 'production'",
    ),
  ]
}
