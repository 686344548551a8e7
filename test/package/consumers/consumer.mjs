import assert from 'node:assert/strict'
import { AuthError, createLatchkey, memoryStore } from 'latchkey'
import { memoryStore as sameStore } from 'latchkey/stores/memory'
import { postgresStore } from 'latchkey/stores/postgres'
import { redisStore } from 'latchkey/stores/redis'
import { AuthError as SameError, createVerifier } from 'latchkey/verifier'

assert.equal(memoryStore, sameStore)
assert.throws(() => redisStore({ client: {} }), { code: 'invalid_option' })
assert.throws(() => postgresStore({ pool: {} }), { code: 'invalid_option' })
const store = memoryStore()
const latchkey = createLatchkey({ issuer: 'http://localhost:3000', store })
const { session } = await latchkey.sessions.open({ id: 'alice' })
assert.equal((await latchkey.sessions.find(session.id))?.userId, 'alice')
const { jwks } = latchkey.keys
const verifier = createVerifier({ issuer: 'http://localhost:3000', audience: 'me', jwks })
await assert.rejects(verifier.verify('x'), { code: 'token_invalid' })
assert.equal(AuthError, SameError)
await latchkey.close()
await store.close()
