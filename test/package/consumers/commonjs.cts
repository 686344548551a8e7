import latchkey = require('latchkey')

const kit = latchkey.createLatchkey({ issuer: 'https://app.example' })
const guard: latchkey.Guard = kit.hybridGuard({ sensitive: true })
export = guard
