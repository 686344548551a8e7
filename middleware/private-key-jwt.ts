import type { Request } from 'express'
import type { AssertionOptions, KeyedService } from '../lib/client-assertion.ts'
import { createAssertionCheck } from '../lib/client-assertion.ts'
import type { ServiceAuthenticator } from '../lib/service.ts'

// RFC 7523 §2.2
const TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/**
 * Makes an authenticator of services by signed assertions: `private_key_jwt` (RFC 7523, OpenID Connect
 * Core §9). The app keeps public keys only. Each assertion is good once on all nodes, which costs one
 * round trip to the store; a store that fails is 503. On routes with a form only.
 *
 * @param services - the public keys by the services' names, and what each may be granted
 * @throws {ConfigError} `invalid_option`
 */
export function privateKeyJwt(
  services: Readonly<Record<string, KeyedService>>,
  options: AssertionOptions = {},
): ServiceAuthenticator<Request> {
  const check = createAssertionCheck(services, options)
  const authenticate: ServiceAuthenticator<Request> = async (req, kit) => {
    const body: unknown = req.body
    if (typeof body !== 'object' || body === null) return null
    const form: Readonly<Record<string, unknown>> = { ...body }
    const { client_assertion: assertion, client_assertion_type: type } = form
    return typeof assertion === 'string' && type === TYPE ? check(assertion, kit) : null
  }
  return Object.assign(authenticate, { methods: ['private_key_jwt'] as const })
}
