import { ASSERTION_ALGORITHMS } from '../lib/assertion-algorithms.ts'
import type { Core } from '../lib/core.ts'
import { ConfigError, methodNotAllowed } from '../lib/errors.ts'
import { finding } from '../lib/findings.ts'
import { rejectUnknownOptions } from '../lib/unknown-options.ts'
import type { Guard } from './as-guard.ts'
import { asGuard } from './as-guard.ts'
import type { Context } from './context.ts'
import { answerFailure } from './failure.ts'

/** Options of `metadataRoute`. */
export interface MetadataOptions {
  /**
   * The path under which clients reach `authRoutes`, on the issuer's origin. What a proxy takes off
   * the front belongs to it.
   */
  readonly authPath: string
}

/** RFC 8414 §3. */
const WELL_KNOWN = '/.well-known/oauth-authorization-server'
const MAX_AGE_S = 300
const PATH = /^(?:\/[A-Za-z0-9._~-]+)+$/

/**
 * Makes `metadataRoute`: answers `GET` of the issuer's metadata (RFC 8414), and passes on everything
 * else. To be mounted at the root of the issuer's origin, whatever the issuer's path.
 */
export function createMetadataRoute<Claims extends object>(
  context: Context<Claims>,
): (options: MetadataOptions) => Guard {
  const { core } = context
  return function metadataRoute(options) {
    const authPath = parseAuthPath(options)
    const { pathname } = new URL(core.settings.issuer)
    // RFC 8414 §3.1: put between host and path, and no slash at the end.
    const path = `${WELL_KNOWN}${pathname.replace(/\/$/, '')}`
    const body = JSON.stringify(metadataOf(context, authPath))
    context.authPath.declared = authPath
    return asGuard('metadataRouteMiddleware', async (req, res, next) => {
      // As the client wrote it, so that no mount in between makes it another URL.
      const [asked] = req.originalUrl.split('?', 1)
      if (asked !== path) {
        if (req.baseUrl !== '' && req.path === path) core.doctor.note(NOT_AT_ROOT)
        next()
      } else if (req.method !== 'GET' && req.method !== 'HEAD') {
        answerFailure(context, methodNotAllowed(['GET', 'HEAD']), 'Session', req, res, next)
      } else {
        res
          .set('Cache-Control', `public, max-age=${MAX_AGE_S}`)
          .set('Content-Type', 'application/json')
          .send(body)
      }
    })
  }
}

/**
 * Notes where `authRoutes` is reached, and says when the metadata names another place. A proxy may
 * take off the front of a path, so its end is what counts.
 */
export function watchAuthPath({ doctor }: Core, { declared }: AuthPath, baseUrl: string): void {
  // Express takes a mount path in any case, as a client happens to write it.
  if (declared === null || declared.toLowerCase().endsWith(baseUrl.toLowerCase())) return
  doctor.note(WRONG_PATH)
}

/** Where `metadataRoute` says that `authRoutes` is; null when there is none. */
export interface AuthPath {
  declared: string | null
}

const NOT_AT_ROOT = finding(
  'metadata_path',
  "metadataRoute is mounted under a path, where no client looks for the issuer's metadata: mount it " +
    'with app.use(latchkey.metadataRoute({ authPath }))',
)
const WRONG_PATH = finding(
  'metadata_path',
  'authRoutes is reached under another path than metadataRoute names as authPath, so clients that go ' +
    'by the metadata find nothing there',
)

function parseAuthPath(options: unknown): string {
  if (typeof options !== 'object' || options === null) {
    throw new ConfigError('metadataRoute', "takes an object such as { authPath: '/auth' }")
  }
  rejectUnknownOptions('metadataRoute', options, ['authPath'])
  const { authPath }: { authPath?: unknown } = options
  const isPath = typeof authPath === 'string' && (authPath === '/' || PATH.test(authPath))
  if (!isPath || authPath.split('/').some((part) => part === '.' || part === '..')) {
    throw new ConfigError('metadataRoute.authPath', "must be a path such as '/auth'")
  }
  return authPath === '/' ? '' : authPath
}

/** RFC 8414 §2. What cannot be done here is not named. */
function metadataOf<Claims extends object>(
  { core, services }: Context<Claims>,
  authPath: string,
): object {
  const { issuer, audiences } = core.settings
  const base = `${new URL(issuer).origin}${authPath}`
  const methods = [...new Set(services.flatMap((one) => one.methods ?? []))]
  const hasServices = services.length > 0
  // An authenticator of the app's own need not tell; the default would then be a guess (RFC 8414 §2).
  const known = hasServices && services.every((one) => one.methods !== undefined)
  const authentication = (endpoint: string) => ({
    ...(known ? { [`${endpoint}_endpoint_auth_methods_supported`]: methods } : {}),
    ...(methods.includes('private_key_jwt')
      ? { [`${endpoint}_endpoint_auth_signing_alg_values_supported`]: ASSERTION_ALGORITHMS }
      : {}),
  })
  return {
    issuer,
    jwks_uri: `${base}/.well-known/jwks.json`,
    // There is no authorization endpoint, so there is nothing to ask it for.
    response_types_supported: [],
    grant_types_supported: [
      ...(hasServices ? ['client_credentials'] : []),
      ...(audiences.size > 0 ? ['urn:ietf:params:oauth:grant-type:token-exchange'] : []),
    ],
    ...(hasServices || audiences.size > 0
      ? { token_endpoint: `${base}/token`, ...authentication('token') }
      : {}),
    ...(hasServices
      ? {
          introspection_endpoint: `${base}/introspect`,
          ...authentication('introspection'),
          revocation_endpoint: `${base}/revoke`,
          ...authentication('revocation'),
        }
      : {}),
  }
}
