import type { Request } from 'express'
import type { ServiceAuthenticator } from '../lib/service.ts'
import type { ServiceSecrets } from '../lib/service-secrets.ts'
import { createSecretCheck } from '../lib/service-secrets.ts'
import { readAuthorization } from './authorization.ts'

/**
 * Makes an authenticator of services by secrets: `client_secret_basic` and `client_secret_post`
 * (RFC 6749 §2.3.1). The app keeps hashes only.
 *
 * @param services - the hashes of the secrets by the services' names, and what each may be granted
 * @throws {ConfigError} `invalid_option`
 *
 * @example
 * ```ts
 * services: serviceSecrets({ orders: { hash: process.env.ORDERS_HASH, scope: ['stock:read'] } })
 * ```
 */
export function serviceSecrets(services: ServiceSecrets): ServiceAuthenticator<Request> {
  const check = createSecretCheck(services)
  const authenticate = (req: Request) => {
    const presented = readBasic(req) ?? readPosted(req)
    return presented === null ? null : check(presented.id, presented.secret)
  }
  return Object.assign(authenticate, {
    methods: ['client_secret_basic', 'client_secret_post'] as const,
  })
}

interface PresentedSecret {
  readonly id: string
  readonly secret: string
}

// RFC 7617 §2: base64 with padding.
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/

function readBasic(req: Request): PresentedSecret | null {
  const header = readAuthorization(req)
  if (header?.scheme !== 'basic' || !BASE64.test(header.text)) return null
  const pair = Buffer.from(header.text, 'base64').toString('utf8')
  const colon = pair.indexOf(':')
  if (colon === -1) return null
  const id = formDecoded(pair.slice(0, colon))
  const secret = formDecoded(pair.slice(colon + 1))
  return id === null || secret === null ? null : { id, secret }
}

/** RFC 6749 §2.3.1 and appendix B: name and secret are form-encoded before they are joined. */
function formDecoded(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return null // not encoded that way, so nobody's
  }
}

function readPosted(req: Request): PresentedSecret | null {
  const body: unknown = req.body
  if (typeof body !== 'object' || body === null) return null
  const { client_id: id, client_secret: secret } = { ...body } as Record<string, unknown>
  return typeof id === 'string' && typeof secret === 'string' ? { id, secret } : null
}
