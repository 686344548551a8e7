import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** An issuer's key endpoint on loopback that answers as the test says. */
export interface JwksServer {
  readonly url: string
  /** How often it was asked. */
  readonly asked: () => number
  /** How many requests are under way at most at one moment. */
  readonly mostAtOnce: () => number
  /** Answers this from now on. */
  answer: (req: IncomingMessage, res: ServerResponse) => void
  /** Answers a set of keys from now on. */
  publish(keys: readonly object[], headers?: Record<string, string>): void
  close(): Promise<void>
}

/** Starts a {@link JwksServer}, on a port of its own or on one that was used before. */
export async function startJwksServer(port = 0): Promise<JwksServer> {
  let asked = 0
  let now = 0
  let most = 0
  const server = createServer((req, res) => {
    asked++
    most = Math.max(most, ++now)
    res.once('close', () => now--)
    jwks.answer(req, res)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const jwks: JwksServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`,
    asked: () => asked,
    mostAtOnce: () => most,
    answer: (_req, res) => res.writeHead(404).end(),
    publish(keys, headers = {}) {
      const body = JSON.stringify({ keys })
      jwks.answer = (_req, res) =>
        res.writeHead(200, { 'Content-Type': 'application/jwk-set+json', ...headers }).end(body)
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return jwks
}
