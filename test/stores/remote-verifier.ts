import { afterEach, describe, expect, it } from '@jest/globals'
import express from 'express'
import type { Latchkey, Store } from '../../middleware/index.ts'
import { createLatchkey, generateSigningKey } from '../../middleware/index.ts'
import type { Verifier } from '../../middleware/verifier/index.ts'
import { createVerifier, remoteFeed } from '../../middleware/verifier/index.ts'
import { ISSUER, closeKits, listen, pause, until } from '../support/kit.ts'
import { CREDENTIAL, askServices } from '../support/services.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

/** A store of the app's, and what closes it with the clients it was given. */
export interface SharedStore {
  readonly store: Store
  close(): Promise<void>
}

const LONG = 10_000

/**
 * Two issuer nodes on one store, and a service that has only their public keys: it hears of what
 * either did, from either, and of what happened while it was away.
 *
 * @param open - a store on the same data each time
 */
export function describeRemoteVerifier(name: string, open: () => SharedStore): void {
  describe(`a verifier without a store, of two nodes on ${name}`, () => {
    const closing: (() => unknown)[] = []
    const signingKey = generateSigningKey()

    afterEach(async () => {
      for (const close of closing.splice(0).toReversed()) await close()
      await closeKits()
    })

    async function openNode(): Promise<{ kit: Latchkey; port: number; stop(): Promise<void> }> {
      const opened = open()
      const kit = createLatchkey({
        issuer: ISSUER,
        secrets: ['a-secret-of-more-than-thirty-two-bytes'],
        signingKeys: [signingKey],
        store: opened.store,
        services: askServices,
        storeDeadline: '5s',
        maxStaleness: '10s',
      })
      let stopped: Promise<void> | undefined
      const stop = async () => {
        stopped ??= kit.close().then(async () => opened.close())
        await stopped
      }
      closing.push(stop)
      const app = express()
      app.use('/auth', kit.authRoutes())
      const { port } = await listen(app)
      await kit.ready()
      return { kit, port, stop }
    }

    function openVerifier(port: number): Verifier {
      const verifier = createVerifier({
        issuer: ISSUER,
        audience: ISSUER,
        jwks: `http://127.0.0.1:${port}/auth/.well-known/jwks.json`,
        feed: remoteFeed({
          url: `http://127.0.0.1:${port}/auth/revocations`,
          credential: CREDENTIAL,
        }),
        maxStaleness: '10s',
      })
      closing.push(async () => verifier.close())
      return verifier
    }

    async function untilRefused(verifier: Verifier, token: string): Promise<unknown> {
      for (let tries = 0; tries < 5000; tries++) {
        try {
          await verifier.verify(token)
        } catch (error) {
          return error
        }
        await pause(2)
      }
      throw new Error('it goes on to pass')
    }

    it('hears of what any of them revoked, through either', async () => {
      const [a, b] = [await openNode(), await openNode()]
      const verifiers = [openVerifier(a.port), openVerifier(b.port)]
      await Promise.all(verifiers.map(async (verifier) => verifier.ready()))
      for (const { kit } of [a, b]) {
        const { session, accessToken } = await kit.sessions.open({ id: 'alice' })
        for (const verifier of verifiers) {
          await expect(verifier.verify(accessToken)).resolves.toMatchObject({ sid: session.id })
        }
        await kit.sessions.revoke(session.id)
        for (const verifier of verifiers) {
          expect(await untilRefused(verifier, accessToken)).toMatchObject({
            code: 'session_revoked',
          })
        }
      }
    }, 60_000)

    it('resumes on the other node and misses nothing', async () => {
      const [a, b] = [await openNode(), await openNode()]
      const target = { port: a.port }
      const way = await startTcpProxy(target)
      closing.push(() => way.stop())
      const verifier = openVerifier(way.port)
      await verifier.ready()
      const opened = await Promise.all(
        ['alice', 'bob', 'carol'].map(async (id) => a.kit.sessions.open({ id })),
      )
      way.refuse()
      way.cutAll()
      await a.kit.sessions.revoke(opened[0]?.session.id ?? '')
      await b.kit.sessions.revoke(opened[1]?.session.id ?? '')
      await a.stop()
      target.port = b.port
      await way.restore()
      for (const { accessToken } of opened.slice(0, 2)) {
        expect(await untilRefused(verifier, accessToken)).toMatchObject({
          code: 'session_revoked',
        })
      }
      await until(() => verifier.health().ok, LONG)
      await expect(verifier.verify(opened[2]?.accessToken ?? '')).resolves.toMatchObject({
        sub: 'carol',
      })
    }, 60_000)
  })
}
