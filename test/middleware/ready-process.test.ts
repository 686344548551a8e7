import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { afterEach, describe, expect, it } from '@jest/globals'
import { generateSigningKey, parseSigningKeys } from '../../lib/signing-keys.ts'
import { SECRET } from '../support/kit.ts'
import { startJwksServer } from '../support/jwks-server.ts'
import { freePort } from '../support/redis-process.ts'

const moduleOf = (path: string) => JSON.stringify(new URL(`../../${path}`, import.meta.url).href)

/** Awaits `ready()` and has nothing else to do. Jest itself would keep a process alive, so each is one of its own. */
const VERIFIER = (port: number) => `
import { createVerifier } from ${moduleOf('middleware/verifier/index.ts')}
const verifier = createVerifier({
  issuer: 'https://id.example', audience: 'https://api.example', jwks: 'http://127.0.0.1:${port}/jwks.json',
  onEvent: ({ type }) => console.log(type),
})
await verifier.ready()
console.log('ready')`

/** The store fails until it is told otherwise; what tells it does not keep the process. */
const KIT = `
import { createLatchkey, managedKeys } from ${moduleOf('middleware/index.ts')}
import { memoryStore } from ${moduleOf('stores/memory.ts')}
const store = memoryStore()
let isAway = true
process.on('SIGUSR2', () => { isAway = false })
for (const part of [store.feed, store.keys]) {
  for (const name of ['read', 'load']) {
    const call = part[name]?.bind(part)
    if (call) part[name] = async (input) => { if (isAway) throw new Error('away'); return call(input) }
  }
}
const latchkey = createLatchkey({
  issuer: 'https://id.example', store, authenticate: () => null, secrets: ['${SECRET}'], signingKeys: managedKeys(),
  onEvent: ({ type, cause }) => console.log(type, cause),
})
await latchkey.ready()
console.log('ready')
await latchkey.close()`

describe('a process that awaits ready() first', () => {
  const ends: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    await Promise.all(ends.splice(0).map(async (end) => end()))
  })

  function start(code: string) {
    const loader = ['--import', import.meta.resolve('tsx'), '--input-type=module']
    const child = spawn(process.execPath, [...loader, '--eval', code])
    const lines: string[] = []
    createInterface(child.stdout).on('line', (line) => lines.push(line))
    let complaint = ''
    child.stderr.on('data', (chunk) => (complaint += String(chunk)))
    const ended = once(child, 'close')
    ends.push(async () => {
      child.kill('SIGKILL')
      await ended
    })
    return {
      child,
      lines,
      async says(line: string, times: number) {
        while (lines.filter((said) => said === line).length < times) {
          const isOver = child.exitCode !== null
          if (isOver)
            throw new Error(`it ended with ${child.exitCode}: ${lines.join()} ${complaint}`)
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      },
      async end() {
        await ended
        return [child.exitCode, lines.at(-1)]
      },
    }
  }

  it('stays while the issuer is away, and goes on when it is there', async () => {
    const port = await freePort()
    const app = start(VERIFIER(port))
    // A second try is one that the process has lived to see.
    await app.says('keys_failure', 2)
    const issuer = await startJwksServer(port)
    ends.push(async () => issuer.close())
    issuer.publish(parseSigningKeys([generateSigningKey()]).jwks.keys)
    expect(await app.end()).toEqual([0, 'ready'])
  })

  it('stays while the store is away, and goes on when it is there', async () => {
    const app = start(KIT)
    await app.says('store_failure feed', 2)
    await app.says('store_failure keys', 2)
    app.child.kill('SIGUSR2')
    await app.says('ready', 1)
    expect(await app.end()).toEqual([0, 'ready'])
  })
})
