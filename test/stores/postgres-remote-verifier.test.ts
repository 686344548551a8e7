import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { useDatabase } from './postgres/open.ts'
import { describeRemoteVerifier } from './remote-verifier.ts'

const database = useDatabase(sharedPostgresUrl)

describeRemoteVerifier('Postgres', () => {
  const store = database.store()
  return { store, close: async () => store.close() }
})
