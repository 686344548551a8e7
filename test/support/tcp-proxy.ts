import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

import { freePort } from './redis-process.ts'

/** `replies` go from server to client, `requests` from client to server. */
export type Direction = 'replies' | 'requests'

/** A proxy on loopback that fails on demand. A fault holds for the connections there are and those to come. */
export interface TcpProxy {
  readonly port: number
  /** How many connections are open. */
  readonly connections: number
  /** How many replies are here and wait for their delay to pass. */
  readonly repliesHeld: number
  /** How many replies are to be swallowed still. */
  readonly repliesToDrop: number
  /** Holds every reply back that long; 0 ends it. */
  delay(ms: number): void
  /**
   * Swallows the next `count` chunks from server to client, then cuts: done, but nobody was told.
   *
   * @param asked - only where this was in what was sent last. @defaultValue whatever was sent
   */
  dropReplies(count: number, asked?: string): void
  /** Forwards this many bytes more, then cuts the connection they came from; whatever came with them is lost. */
  cutAfterBytes(bytes: number, direction?: Direction): void
  /** Forwards nothing either way and closes nothing, as a lost network would; `restore` delivers it late. */
  halfOpen(): void
  /** Resets every connection; what was held back is lost. */
  cutAll(): void
  /** Accepts no more connections (ECONNREFUSED); those there are stay. */
  refuse(): void
  /** Ends every fault and accepts connections again. */
  restore(): Promise<void>
  /** Resets every connection and ends. */
  stop(): void
}

interface Faults {
  replyDelayMs: number
  repliesHeld: number
  repliesToDrop: number
  /** Only replies to what has this in it are dropped. */
  dropAsked: string
  readonly bytesLeft: Record<Direction, number>
  /** Settles when things may pass again. */
  blocked: Promise<void> | undefined
}

interface Link {
  readonly client: Socket
  readonly server: Socket
  /** The last that the client sent. */
  asked: Buffer
}

/** Starts a proxy to a port of this machine. */
export async function startTcpProxy(target: { readonly port: number }): Promise<TcpProxy> {
  const faults: Faults = {
    replyDelayMs: 0,
    repliesHeld: 0,
    repliesToDrop: 0,
    dropAsked: '',
    bytesLeft: { replies: Infinity, requests: Infinity },
    blocked: undefined,
  }
  let unblock = () => {}
  const links = new Set<Link>()
  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const link = open(client, target.port, faults)
    links.add(link)
    link.server.once('close', () => links.delete(link))
  })
  const refuse = () => {
    if (listener.listening) listener.close()
  }
  const cutAll = () => links.forEach(cut)
  const port = await freePort()
  await listen(listener, port)
  return {
    port,
    get connections() {
      return links.size
    },
    get repliesHeld() {
      return faults.repliesHeld
    },
    get repliesToDrop() {
      return faults.repliesToDrop
    },
    delay(ms) {
      faults.replyDelayMs = ms
    },
    dropReplies(count, asked = '') {
      faults.repliesToDrop = count
      faults.dropAsked = asked
    },
    cutAfterBytes(bytes, direction = 'replies') {
      faults.bytesLeft[direction] = bytes
    },
    halfOpen() {
      faults.blocked ??= new Promise((resolve) => {
        unblock = resolve
      })
    },
    cutAll,
    refuse,
    async restore() {
      faults.replyDelayMs = 0
      faults.repliesToDrop = 0
      Object.assign(faults.bytesLeft, { replies: Infinity, requests: Infinity })
      faults.blocked = undefined
      unblock()
      if (!listener.listening) await listen(listener, port)
    },
    stop() {
      refuse()
      cutAll()
    },
  }
}

async function listen(listener: Server, port: number): Promise<void> {
  listener.listen(port, '127.0.0.1').unref()
  await once(listener, 'listening')
}

function open(client: Socket, port: number, faults: Faults): Link {
  const server = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
  const link = { client, server, asked: Buffer.alloc(0) }
  forward(link, 'requests', faults)
  forward(link, 'replies', faults)
  return link
}

function cut({ client, server }: Link): void {
  reset(client)
  reset(server)
}

/** Node never closes a socket that is reset amid its end, and the process would wait for it. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

/** One way of a connection: what happens at `from` happens at `to`, in that order, unless a fault says otherwise. */
function forward(link: Link, direction: Direction, faults: Faults): void {
  const [from, to] =
    direction === 'requests' ? [link.client, link.server] : [link.server, link.client]
  let last = Promise.resolve()
  const inTurn = (step: () => void) => {
    const due = Date.now() + (direction === 'replies' ? faults.replyDelayMs : 0)
    const before = last
    last = (async () => {
      await before
      const waitMs = due - Date.now()
      if (waitMs > 0) await hold(waitMs)
      await faults.blocked
      if (!to.destroyed) step()
    })()
  }
  from.on('data', (chunk: Buffer) => inTurn(() => pass(chunk)))
  from.on('end', () => inTurn(() => to.end()))
  from.on('error', () => inTurn(() => reset(to)))
  from.on('close', () => inTurn(() => to.destroySoon()))

  async function hold(ms: number) {
    faults.repliesHeld += 1
    await sleep(ms)
    faults.repliesHeld -= 1
  }

  function pass(chunk: Buffer) {
    if (direction === 'requests') link.asked = chunk
    else if (faults.repliesToDrop > 0 && link.asked.includes(faults.dropAsked)) {
      faults.repliesToDrop -= 1
      if (faults.repliesToDrop === 0) cut(link)
      return
    }
    const { bytesLeft } = faults
    to.write(chunk.subarray(0, bytesLeft[direction]))
    if (chunk.length < bytesLeft[direction]) {
      bytesLeft[direction] -= chunk.length
      return
    }
    bytesLeft[direction] = Infinity
    // Not reset: that would take back what was just forwarded.
    to.destroySoon()
    from.destroy()
  }
}
