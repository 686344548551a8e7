import { once } from 'node:events'
import type { Server } from 'node:http'
import { createServer, IncomingMessage, ServerResponse } from 'node:http'
import type { Express } from 'express'

/**
 * Serves an app on a free port of this machine.
 *
 * @param ownPrototypes - whether requests have the app's prototypes from their start
 */
export async function listen(
  app: Express,
  ownPrototypes: boolean = false,
): Promise<{ server: Server; port: number }> {
  const server = ownPrototypes ? createServerOf(app) : createServer(app)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port')
  return { server, port: address.port }
}

/**
 * Express gives each request and response its own prototypes when it sees them, and V8 then a hidden class to
 * each of them. Where they are made with them, nothing is exchanged (expressjs/express#5998).
 */
function createServerOf(app: Express): Server {
  class AppRequest extends IncomingMessage {}
  class AppResponse extends ServerResponse {}
  app.request = Object.setPrototypeOf(AppRequest.prototype, app.request)
  app.response = Object.setPrototypeOf(AppResponse.prototype, app.response)
  return createServer({ IncomingMessage: AppRequest, ServerResponse: AppResponse }, app)
}
