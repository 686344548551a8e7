import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { openUsers } from '../users.ts'
import { createGateway } from './gateway.ts'
import { createOrders } from './orders.ts'

/**
 * The trust boundary, in one process to be easy to start: a gateway on PORT, and the service behind it
 * on ORDERS_PORT. Nothing is shared between the two but HTTP.
 */
const users = await openUsers()
const gatewayServer = await listen(process.env['PORT'] ?? '3000')
const ordersServer = await listen(process.env['ORDERS_PORT'] ?? '4000')
const issuer = urlOf(gatewayServer)

const orders = createOrders(issuer)
ordersServer.on('request', (req, res) => void orders.app(req, res))
const ordersUrl = urlOf(ordersServer).replace('localhost', '127.0.0.1')
const gateway = createGateway({ issuer, users, ordersUrl })
gatewayServer.on('request', (req, res) => void gateway.app(req, res))

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop())
console.log(`latchkey gateway on ${issuer}, orders behind it on ${urlOf(ordersServer)}`)

async function stop(): Promise<void> {
  for (const server of [gatewayServer, ordersServer]) {
    server.close()
    server.closeAllConnections()
  }
  await Promise.all([orders.close(), gateway.close()])
}

/** Loopback only: plain http is for this machine. */
async function listen(port: string): Promise<Server> {
  const server = createServer()
  server.listen(Number(port), '127.0.0.1')
  await once(server, 'listening')
  return server
}

function urlOf(server: Server): string {
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port')
  return `http://localhost:${address.port}`
}
