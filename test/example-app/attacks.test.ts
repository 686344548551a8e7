import { afterAll, beforeAll, describe } from '@jest/globals'
import { describeBrowser } from './attacks/browser.ts'
import { describeCredentials } from './attacks/credentials.ts'
import { describeInput } from './attacks/input.ts'
import { describeLimits } from './attacks/limits.ts'
import { describeRaces } from './attacks/races.ts'
import { Target } from './attacks/target.ts'

const targets = [new Target('memory'), new Target('redis'), new Target('postgres')]

// All at once, and so is the wait for the grace of what they make here.
beforeAll(async () => {
  await Promise.all(targets.map(async (target) => target.start()))
})
afterAll(async () => {
  await Promise.all(targets.map(async (target) => target.cleanUp()))
})

describe.each(targets)('attacks on the example on $store', (target) => {
  describeCredentials(target)
  describeBrowser(target)
  describeInput(target)
  describeRaces(target)
})

// Later, when the grace is over on all of them.
describe.each(targets)('attacks that exhaust the example on $store', (target) => {
  describeLimits(target)
})
