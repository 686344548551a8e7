import { describe } from '@jest/globals'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { describeStore } from './contract.ts'
import { openOn, useDatabase } from './postgres/open.ts'
import { describeRotationModel } from './rotation-model.ts'

describe('on a pool', () => {
  const open = openOn(useDatabase(sharedPostgresUrl))

  describeStore('postgresStore', open)
  describeRotationModel('postgresStore', open, 60)
})

describe('for a transaction pooler', () => {
  const open = openOn(useDatabase(sharedPostgresUrl), { prepare: false, listen: false })

  describeStore('postgresStore', open)
})
