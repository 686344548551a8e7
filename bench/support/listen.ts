import { once } from 'node:events'
import type { Server } from 'node:http'
import type { Express } from 'express'

/** Serves an app on a free port of this machine. */
export async function listen(app: Express): Promise<{ server: Server; port: number }> {
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port')
  return { server, port: address.port }
}
