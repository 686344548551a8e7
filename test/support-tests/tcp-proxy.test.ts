import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'

import { until } from '../support/redis-commands.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

describe('the TCP proxy', () => {
  let server: Server
  let received = ''
  let proxy: TcpProxy
  const clients: Client[] = []

  beforeAll(async () => {
    server = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (chunk) => {
        received += String(chunk)
        socket.write(`<${String(chunk)}>`)
      })
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
  })

  beforeEach(async () => {
    received = ''
    proxy = await startTcpProxy(server.address() as AddressInfo)
  })

  afterEach(() => {
    proxy.stop()
    for (const { socket } of clients.splice(0)) socket.destroy()
  })

  afterAll(() => {
    server.close()
  })

  it('forwards both ways', async () => {
    const client = await dial()
    expect(await client.say('a')).toBe('<a>')
    expect(proxy.connections).toBe(1)
  })

  it('delays replies, in order', async () => {
    const client = await dial()
    proxy.delay(200)
    const started = performance.now()
    client.socket.write('a')
    await becomes(() => proxy.repliesHeld === 1)
    proxy.delay(0)
    client.socket.write('b')
    await becomes(() => client.text === '<a><b>')
    expect(performance.now() - started).toBeGreaterThan(195)
  })

  it('swallows replies to what the server has done, then cuts', async () => {
    const client = await dial()
    proxy.dropReplies(2)
    client.socket.write('a')
    // Else the server's two replies may come as one.
    await becomes(() => proxy.repliesToDrop === 1)
    client.socket.write('b')
    await client.closed
    expect([received, client.text]).toEqual(['ab', ''])
    const other = await dial()
    expect(await other.say('c')).toBe('<c>')
  })

  it('swallows the replies of those who asked for what is named', async () => {
    const [named, other] = [await dial(), await dial()]
    proxy.dropReplies(1, 'named')
    expect(await other.say('a')).toBe('<a>')
    named.socket.write('it is named')
    await named.closed
    expect([received, named.text]).toEqual(['ait is named', ''])
    expect(await other.say('b')).toBe('<b>')
  })

  it.each([
    ['replies', 'abc', '<a'],
    ['requests', 'ab', ''],
  ] as const)('cuts in the midst of %s', async (direction, arrived, replied) => {
    const client = await dial()
    proxy.cutAfterBytes(2, direction)
    client.socket.write('abc')
    await client.closed
    await becomes(() => received === arrived)
    expect(client.text).toBe(replied)
  })

  it('is silent without closing, and delivers late when restored', async () => {
    const client = await dial()
    expect(await client.say('a')).toBe('<a>')
    proxy.halfOpen()
    const late = client.say('b')
    const newcomer = await dial()
    const alsoLate = newcomer.say('c')
    expect(await Promise.race([late, alsoLate, pause(60)])).toBe('nothing')
    expect([received, client.socket.closed]).toEqual(['a', false])
    await proxy.restore()
    expect(await Promise.all([late, alsoLate])).toEqual(['<b>', '<c>'])
  })

  it('resets all connections and takes new ones', async () => {
    const [first, second] = [await dial(), await dial()]
    await Promise.all([first.say('a'), second.say('a')])
    proxy.cutAll()
    await Promise.all([first.closed, second.closed])
    expect(await (await dial()).say('b')).toBe('<b>')
  })

  it('refuses new connections only, until restored', async () => {
    const client = await dial()
    expect(await client.say('a')).toBe('<a>')
    proxy.refuse()
    await expect(dial()).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    expect(await client.say('b')).toBe('<b>')
    await proxy.restore()
    expect(await (await dial()).say('c')).toBe('<c>')
  })

  it('closes the other side when one closes', async () => {
    const client = await dial()
    await client.say('a')
    client.socket.end()
    await client.closed
    await becomes(() => proxy.connections === 0)
    expect(proxy.connections).toBe(0)
  })

  interface Client {
    readonly socket: Socket
    readonly closed: Promise<unknown>
    readonly text: string
    say(text: string): Promise<string>
  }

  async function dial(): Promise<Client> {
    const socket = connect(proxy.port, '127.0.0.1')
    await once(socket, 'connect')
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    socket.on('error', () => {})
    const client: Client = {
      socket,
      closed: new Promise((resolve) => socket.once('close', resolve)),
      get text() {
        return text
      },
      async say(words) {
        const reply = once(socket, 'data')
        socket.write(words)
        const [chunk] = (await reply) as [string]
        return chunk
      },
    }
    clients.push(client)
    return client
  }
})

async function pause(ms: number): Promise<string> {
  return new Promise((resolve) => {
    setTimeout(() => resolve('nothing'), ms)
  })
}

async function becomes(isSo: () => boolean): Promise<void> {
  await until(String(isSo), async () => isSo())
}
