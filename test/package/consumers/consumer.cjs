const assert = require('node:assert/strict')
const { createLatchkey, memoryStore, ConfigError } = require('latchkey')

const store = memoryStore()
const latchkey = createLatchkey({ issuer: 'http://localhost:3000', store })
assert.equal(latchkey.requireJwt().name, 'requireJwtMiddleware')
assert.throws(() => createLatchkey({ issuer: 'nowhere' }), ConfigError)
latchkey.close().then(() => store.close())
