import { createServer, request as sendRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { IncomingMessage, Server } from 'node:http'
import { Readable } from 'node:stream'
import type { Request, RequestHandler, Response } from 'express'
import expressHttpProxy from 'express-http-proxy'
import { createProxyMiddleware } from 'http-proxy-middleware'
import { createProxyServer } from 'httpxy'

/** What a service behind received. */
export interface Received {
  readonly method: string
  readonly url: string
  /** Names in lower case and values, as they stood on the wire. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly trailers: readonly string[]
  readonly body: string
}

/** A service behind that writes down what it gets and answers 200. */
export interface EchoService {
  readonly url: string
  readonly received: Received[]
  close(): Promise<void>
}

export async function startEcho(): Promise<EchoService> {
  const received: Received[] = []
  const server = createServer((req, res) => {
    void readAll(req).then((body) => {
      received.push({
        method: req.method ?? '',
        url: req.url ?? '',
        headers: pairsOf(req.rawHeaders),
        trailers: req.rawTrailers,
        body,
      })
      res.setHeader('Content-Type', 'application/json').end('{"served":true}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, received, close: async () => closeServer(server) }
}

/** Ends a server and all its connections. */
export async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
}

async function readAll(req: IncomingMessage): Promise<string> {
  req.setEncoding('utf8')
  let text = ''
  for await (const chunk of req) text += String(chunk)
  return text
}

/** Names in lower case, with their values. */
export function pairsOf(rawHeaders: readonly string[]): [string, string][] {
  return Array.from({ length: rawHeaders.length / 2 }, (_, index) => [
    (rawHeaders[2 * index] ?? '').toLowerCase(),
    rawHeaders[2 * index + 1] ?? '',
  ])
}

/** Of what a request has, the headers of some names: all their values, in their order. */
export function valuesOf(request: Received | undefined, ...names: string[]): string[] {
  return (request?.headers ?? []).flatMap(([name, value]) => (names.includes(name) ? [value] : []))
}

/** Reverse proxies as apps write them, by which view of the request they copy. */
export const PROXIES: Readonly<Record<string, (target: string) => RequestHandler>> = {
  'http-proxy-middleware': (target) => createProxyMiddleware({ target }),
  httpxy: (target) => {
    const proxy = createProxyServer({ target })
    return async (req, res) => {
      await proxy.web(req, res)
    }
  },
  'express-http-proxy': (target) => expressHttpProxy(target),
  'fetch with headers': (target) => async (req, res) => {
    const headers = new Headers()
    for (const [name, value] of Object.entries(req.headers)) {
      for (const one of Array.isArray(value) ? value : [value ?? '']) headers.append(name, one)
    }
    await fetchFrom(target, headers, req, res)
  },
  'fetch with headersDistinct': (target) => async (req, res) => {
    const headers = new Headers()
    for (const [name, values = []] of Object.entries(req.headersDistinct)) {
      for (const value of values) headers.append(name, value)
    }
    await fetchFrom(target, headers, req, res)
  },
  'node:http with rawHeaders': (target) => (req, res, next) => {
    const { hostname, port } = new URL(target)
    const options = { hostname, port, method: req.method, path: req.url, headers: req.rawHeaders }
    const forwarded = sendRequest(options as object, (answer) => {
      res.status(answer.statusCode ?? 502)
      answer.pipe(res)
    })
    forwarded.on('error', next)
    req.pipe(forwarded)
  },
}

/** What fetch does not take. */
const OF_THE_CONNECTION = ['connection', 'transfer-encoding', 'keep-alive', 'upgrade', 'trailer']

async function fetchFrom(target: string, headers: Headers, req: Request, res: Response) {
  for (const name of OF_THE_CONNECTION) headers.delete(name)
  const hasBody = req.method !== 'GET' && req.method !== 'HEAD'
  const answer = await fetch(new URL(req.url, target), {
    method: req.method,
    headers,
    ...(hasBody ? { body: Readable.toWeb(req) as ReadableStream, duplex: 'half' } : {}),
  })
  res.status(answer.status).send(await answer.text())
}
