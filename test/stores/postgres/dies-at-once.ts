// A node that is killed in the moment it has its answers: argv is the server's URL and the schema.
// Writes what it was answered, as JSON.

import { writeSync } from 'node:fs'
import { Pool } from 'pg'
import { createLatchkey } from '../../../middleware/index.ts'
import { postgresStore } from '../../../stores/postgres.ts'
import { ISSUER, SECRET, SIGNING_KEY } from '../../support/kit.ts'

const [, , url = '', schema = ''] = process.argv
const pool = new Pool({ connectionString: url, max: 4 })
const store = postgresStore({ pool, schema, operationTimeout: '10s', pruneInterval: false })
const { sessions } = createLatchkey({
  issuer: ISSUER,
  secrets: [SECRET],
  signingKeys: [SIGNING_KEY],
  store,
  storeDeadline: '10s',
})

const user = `user-${process.pid}`
const [one, two, three] = [
  await sessions.open({ id: user }),
  await sessions.open({ id: user }),
  await sessions.open({ id: user }),
]
await sessions.update(one.session.id, { roles: ['admin'] })
const reason = { reason: 'stolen', actor: 'root' }
const [revoked, ended] = [
  await sessions.revoke(two.session.id, reason),
  await sessions.revokeUser(user, { ...reason, except: three.session.id }),
]
const opened = [one, two, three].map(({ session }) => session.id)
writeSync(1, JSON.stringify({ user, opened, revoked, ended }))
process.kill(process.pid, 'SIGKILL')
