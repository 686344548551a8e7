import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { createApp } from './app.ts'
import { readConfig } from './config.ts'
import { openStore } from './store.ts'
import { openUsers } from './users.ts'

/** How long requests under way may take once the process was told to stop. */
const DRAIN_MS = 5000

try {
  await start()
} catch (err) {
  console.error(`latchkey example: ${explain(err)}`)
  process.exit(1)
}

async function start(): Promise<void> {
  const config = readConfig(process.env)
  const [users, opened] = await Promise.all([openUsers(), openStore(config)])
  const server = createServer()
  // Loopback only: plain http is for this machine.
  server.listen(config.port, '127.0.0.1')
  await once(server, 'listening')

  const port = portOf(server)
  const example = createApp({ config, port, opened, users })
  server.on('request', (req, res) => void example.app(req, res))
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    // Once: who asks a second time gets the default, an end at once.
    process.once(signal, () => void stop(server, () => example.close()))
  }
  await example.ready()
  console.log(`latchkey example on http://localhost:${port}`)
}

async function stop(server: Server, closeApp: () => Promise<void>): Promise<void> {
  const drained = new Promise((resolve) => server.close(resolve))
  const impatience = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  server.closeIdleConnections()
  await drained
  clearTimeout(impatience)
  await closeApp()
}

function portOf(server: Server): number {
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port')
  return address.port
}

function explain(err: unknown): string {
  if (!(err instanceof Error)) return String(err)
  return 'code' in err && err.code === 'EADDRINUSE'
    ? 'the port is taken; set PORT to another one'
    : err.message
}
