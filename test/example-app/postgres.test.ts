import { startPostgres } from '../support/postgres-server.ts'
import { describeTwoProcesses } from './two-processes.ts'

describeTwoProcesses('Postgres', async () => {
  const server = await startPostgres()
  return { env: { STORE: 'postgres', DATABASE_URL: server.url }, ...server }
})
