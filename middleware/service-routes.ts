import { introspectToken } from '../lib/introspect.ts'
import { createTokenReader } from '../lib/issued-tokens.ts'
import { revokeToken } from '../lib/revoke-token.ts'
import type { Context } from './context.ts'
import { requestFacts } from './context.ts'
import { noStore } from './deliver.ts'
import { readForm, requireParameter } from './form.ts'
import type { RouteHandler } from './route.ts'
import { authenticateService } from './services.ts'

/** What services do with tokens they were shown. */
export interface ServiceRoutes {
  /** RFC 7662. */
  readonly introspect: RouteHandler
  /** RFC 7009. */
  readonly revoke: RouteHandler
}

/**
 * Makes the routes. Which service asks is settled before the token is looked at; `token_type_hint` is
 * not needed, for every token says what it is.
 */
export function createServiceRoutes<Claims extends object>(
  context: Context<Claims>,
): ServiceRoutes {
  const { core, checks } = context
  const readToken = createTokenReader(core)

  return {
    async introspect(req, res) {
      const form = await readForm(req, res)
      await authenticateService(context, req)
      const issued = await readToken(requireParameter(form, 'token'))
      noStore(res).json(await introspectToken(core, checks, issued))
    },

    async revoke(req, res) {
      const form = await readForm(req, res)
      const service = await authenticateService(context, req)
      const issued = await readToken(requireParameter(form, 'token'))
      await revokeToken(core, issued, service, requestFacts(req))
      // RFC 7009 §2.2: also for what was none of ours, or over.
      noStore(res).status(200).end()
    },
  }
}
